// Chromium for the tests: starts it, and watches every page for errors that a person would not see.
//
// A test fails when a page logs an error, throws, or breaks its content security policy. Requests that a test makes
// fail on purpose are announced with `expectFailures`.

import { existsSync, mkdirSync } from "node:fs";
import path from "node:path";
import { chromium } from "playwright-core";

const SCREENSHOTS = path.join(import.meta.dirname, "screenshots");
const CANDIDATES = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
// As root in a container there is no sandbox; the other flags keep Chromium from looking for the internet.
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

export function launch() {
  const executablePath = CANDIDATES.find((candidate) => candidate && existsSync(candidate));
  if (!executablePath) throw new Error("Chromium was not found; set CHROMIUM to its path");
  mkdirSync(SCREENSHOTS, { recursive: true });
  return chromium.launch({ executablePath, args: FLAGS, headless: true });
}

/** A page whose errors are collected in `page.problems`. */
export async function openPage(browser, options = {}) {
  const context = await browser.newContext({ locale: "en-GB", ...options });
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => {
      console.error(`CSP violation: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
    });
  });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.problems = [];
  let failuresExpected = false;
  page.expectFailures = async (run) => {
    failuresExpected = true;
    try {
      return await run();
    } finally {
      failuresExpected = false;
    }
  };
  page.on("console", (message) => {
    const text = message.text();
    // Leptos reports mismatches between the server's and the browser's first render as warnings.
    const mismatch = message.type() === "warning" && /hydrat|mismatch|reactive|disposed/i.test(text);
    const announced = failuresExpected && text.startsWith("Failed to load resource");
    if ((message.type() === "error" || mismatch) && !announced) page.problems.push(`${message.type()}: ${text}`);
  });
  page.on("pageerror", (error) => page.problems.push(`exception: ${error.message}`));
  page.on("crash", () => page.problems.push("the page crashed"));
  return page;
}

/** Saves what is on screen, for a person to look at. */
export async function screenshot(page, name) {
  await page.screenshot({ path: path.join(SCREENSHOTS, `${name}.png`) });
}

/** Opens an address and waits until the page has taken over the server's HTML. */
export async function visit(page, address) {
  await page.goto(address);
  await ready(page);
}

export async function ready(page) {
  await page.waitForSelector("html[data-ready]", { state: "attached" });
}
