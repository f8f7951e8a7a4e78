// The page as people use it: first administrator, question, streamed answer, citation, conversations, documents.
//
// Environment: CLOISTER_URL (the server), CLOISTER_SETUP_LINK (of a fresh server) or CLOISTER_EMAIL and
// CLOISTER_PASSWORD (an existing administrator); the server has the sample documents in a collection.
// CLOISTER_QUESTION: a question that they answer. CLOISTER_STRONG_MODEL=1: the model is good enough that its written
// answer must carry a citation; without it only the quotes must (the smallest model may refuse or ramble).
// The tests build on each other, like a day at work: when one fails, those after it may too.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, openPage, ready, screenshot, visit } from "./browser.js";

const url = process.env.CLOISTER_URL;
const setupLink = process.env.CLOISTER_SETUP_LINK;
const email = process.env.CLOISTER_EMAIL ?? "admin@example.com";
const password = process.env.CLOISTER_PASSWORD ?? "correct horse battery";
const question = process.env.CLOISTER_QUESTION ?? "How many days of paid leave does a full-time employee have per year?";
const strongModel = process.env.CLOISTER_STRONG_MODEL === "1";
// The smallest model on a busy two-core machine takes its time.
const ANSWER_TIMEOUT = 180_000;

let browser;
let page;

before(async () => {
  assert.ok(url, "CLOISTER_URL is not set");
  browser = await launch();
  page = await openPage(browser, { viewport: { width: 1280, height: 820 } });
});

after(async () => {
  await browser?.close();
});

/** One step; afterwards the page must not have complained. */
function step(name, run) {
  test(name, async () => {
    await run();
    assert.deepEqual(page.problems.splice(0), []);
  });
}

/** Asks and returns the answer's article when it is complete. */
async function ask(text) {
  const before = await page.locator(".turn").count();
  await page.locator("#question").fill(text);
  await page.keyboard.press("Enter");
  const turn = page.locator(".turn").nth(before);
  await turn.waitFor();
  const deadline = Date.now() + ANSWER_TIMEOUT;
  while (await turn.locator(".answer.is-running").count()) {
    assert.ok(Date.now() < deadline, "the answer did not end in time");
    await page.waitForTimeout(30);
  }
  return turn;
}

step("whoever is not signed in is led to the sign-in, or to the set-up of a fresh server", async () => {
  await page.expectFailures(async () => {
    await visit(page, `${url}/documents`);
    await page.waitForURL(setupLink ? /\/setup|\/sign-in/ : /\/sign-in/);
    await visit(page, `${url}/sign-in`);
  });
  await screenshot(page, "sign-in");
});

step("a wrong password is refused in plain words", async () => {
  await page.expectFailures(async () => {
    await page.getByLabel("Email").fill("nobody@example.com");
    await page.getByLabel("Password").fill("not the password");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.locator(".form-error").waitFor();
  });
  await screenshot(page, "sign-in-error");
});

if (setupLink) {
  step("a set-up link pasted over the page without its token takes effect at once", async () => {
    await visit(page, `${url}/setup`);
    await page.getByText("This address lacks its one-time token.").waitFor();
    // Only the fragment changes, so the browser loads nothing: the mark is still there afterwards.
    await page.evaluate((link) => {
      window.sameDocument = true;
      location.href = link;
    }, setupLink);
    await page.getByRole("button", { name: "Create the account" }).waitFor();
    assert.equal(await page.getByText("This address lacks its one-time token.").count(), 0);
    assert.equal(await page.evaluate(() => window.sameDocument), true);
  });

  step("the one-time link makes the first administrator", async () => {
    await visit(page, setupLink);
    await page.getByLabel("Email").fill(email);
    await page.getByLabel("Password", { exact: true }).fill(password);
    await page.getByLabel("Password again").fill("something else");
    await page.getByRole("button", { name: "Create the account" }).click();
    await page.getByText("The two passwords differ.").waitFor();
    await screenshot(page, "set-up");
    await page.getByLabel("Password again").fill(password);
    await page.getByRole("button", { name: "Create the account" }).click();
    await page.getByRole("heading", { name: "What would you like to know?" }).waitFor();
  });
} else {
  step("an administrator signs in", signIn);
}

async function signIn() {
  await visit(page, `${url}/sign-in`);
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator(".welcome").waitFor();
}

step("a new chat says what can be asked, and the composer has the keyboard", async () => {
  await visit(page, url);
  await page.getByRole("heading", { name: "What would you like to know?" }).waitFor();
  await page.waitForFunction(() => document.activeElement?.id === "question");
  await page.locator(".conversations-note").waitFor();
  await screenshot(page, "empty-chat");
});

step("a script in the question stays text", async () => {
  // Shift+Enter breaks the line instead of asking.
  await page.locator("#question").fill("<img src=x onerror=alert(1)>");
  await page.keyboard.press("Shift+Enter");
  assert.equal(await page.locator(".turn").count(), 0);
  assert.match(await page.locator("#question").inputValue(), /\n$/);
  await page.locator("#question").fill("");
});

// A sentence is seen when it has been checked, so a short answer comes whole, maybe with its last event; web-server's tests cover the
// stream itself.
step("an answer is read once its sentences are checked", async () => {
  const turn = await ask(question);
  assert.ok((await turn.locator(".answer-text").innerText()).trim().length > 0);
  assert.match(page.url(), /\/c\/[0-9a-f-]{36}$/);
  await turn.getByText(/Answered by|Quoted from/).waitFor();
  if (strongModel) assert.ok(await turn.locator(".cite").count(), "the written answer has no citation");
  await screenshot(page, "answer");
});

step("quotes open the document with the sentence highlighted", async () => {
  await page.getByRole("button", { name: "Quotes only" }).click();
  const turn = await ask(question);
  await turn.locator(".cite").first().waitFor();
  await screenshot(page, "quotes");
  await turn.locator(".cite").first().hover();
  await page.locator(".preview").waitFor();
  await screenshot(page, "preview");

  const source = turn.locator(".source-text").first();
  const quote = (await source.innerText()).replace(/^“|”$/g, "");
  await turn.locator(".cite").first().click();
  const mark = page.locator(".panel mark").first();
  await mark.waitFor();
  const marked = (await page.locator(".panel mark").allInnerTexts()).join(" ");
  const words = (text) => text.replace(/\s+/g, " ").trim();
  assert.ok(words(marked).length > 0);
  assert.ok(words(quote).startsWith(words(marked).slice(0, 40)), `marked “${marked}”, quoted “${quote}”`);
  await page.waitForFunction(() => {
    const box = document.querySelector(".panel mark").getBoundingClientRect();
    return box.top >= 0 && box.bottom <= innerHeight;
  });
  await page.waitForTimeout(400);
  await screenshot(page, "citation");

  const next = page.getByRole("button", { name: "Next source" });
  if (await next.isEnabled()) {
    await next.click();
    await page.getByText("2 of").waitFor();
  }
  await page.keyboard.press("Escape");
  await page.locator(".panel").waitFor({ state: "detached" });
  assert.equal(await page.evaluate(() => document.activeElement?.className), "cite", "the keyboard did not go back");
  await page.getByRole("button", { name: "Quotes only" }).click();
});

step("a reload in the middle of an answer goes on with it", async () => {
  await page.locator("#question").fill("Summarise what the handbook says about leave, illness and remote work.");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelectorAll(".turn").length === 3);
  await page.waitForFunction(() => {
    const last = [...document.querySelectorAll(".turn")].at(-1);
    return last.querySelector(".answer-text").innerText.trim().length > 0 || !last.querySelector(".is-running");
  }, undefined, { timeout: ANSWER_TIMEOUT });
  await page.reload();
  await ready(page);
  await page.waitForFunction(() => document.querySelectorAll(".turn").length === 3);
  const last = page.locator(".turn").nth(2);
  await page.waitForFunction(() => !document.querySelector(".is-running"), undefined, { timeout: ANSWER_TIMEOUT });
  const text = await last.locator(".answer-text").innerText();
  assert.ok(text.trim().length > 0);
  const again = await page.evaluate(async (id) => {
    const detail = await (await fetch(`/api/conversations/${id}`)).json();
    return detail.messages.map((message) => message.question);
  }, page.url().split("/").at(-1));
  assert.equal(again.length, 3);
});

step("a running answer can be stopped", async () => {
  await page.locator("#question").fill("List everything that the documents say about travel, in detail.");
  await page.keyboard.press("Enter");
  const stop = page.getByRole("button", { name: "Stop the answer" });
  await stop.waitFor();
  await page.waitForFunction(() => {
    const last = [...document.querySelectorAll(".turn")].at(-1);
    return last.querySelector(".answer-text").innerText.trim().length > 0 || !last.querySelector(".is-running");
  }, undefined, { timeout: ANSWER_TIMEOUT });
  // A short answer may be over by now; then there is nothing to stop.
  if (await stop.isVisible()) await stop.click({ timeout: 2_000 }).catch(() => {});
  await page.waitForFunction(() => !document.querySelector(".is-running"));
  await page.getByRole("button", { name: "Ask", exact: true }).waitFor();
});

step("a conversation is found, renamed, and still there after a reload", async () => {
  const row = page.locator(".conversation").first();
  await row.hover();
  await row.getByRole("button", { name: /^Rename/ }).click();
  await page.getByLabel("New title").fill("Leave and illness");
  await page.keyboard.press("Enter");
  await page.locator(".conversation-title", { hasText: "Leave and illness" }).waitFor();
  await page.locator(".page-title", { hasText: "Leave and illness" }).waitFor();

  await page.getByLabel("Search conversations").fill("zzzzunfindable");
  await page.getByText("No conversation contains these words.").waitFor();
  await page.getByLabel("Search conversations").fill("paid leave");
  await page.locator(".conversation-title", { hasText: "Leave and illness" }).waitFor();
  await screenshot(page, "search");

  await page.reload();
  await ready(page);
  await page.locator(".conversation-title", { hasText: "Leave and illness" }).waitFor();
  await page.locator(".turn").nth(3).waitFor();
});

step("the dark theme is remembered", async () => {
  await page.getByRole("button", { name: "Switch between light and dark" }).click();
  await page.reload();
  await ready(page);
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  await page.locator(".cite").first().click();
  await page.locator(".panel mark, .panel .is-start").first().waitFor();
  await page.waitForTimeout(400);
  const shift = await page.evaluate(() => scrollY + document.querySelector(".workspace").scrollTop);
  assert.equal(shift, 0, "opening a source moved the page itself");
  await screenshot(page, "dark");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Switch between light and dark" }).click();
});

step("it works on a phone", async () => {
  const address = page.url();
  const state = await page.context().storageState();
  const phone = await openPage(browser, { viewport: { width: 390, height: 800 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2, storageState: state });
  await visit(phone, address);
  await phone.locator(".cite").first().waitFor();
  await screenshot(phone, "phone");
  for (const path of [address, url, `${url}/documents`]) {
    await visit(phone, path);
    await phone.locator(".turn, .welcome, .shelf-columns").first().waitFor();
    for (const width of [390, 360]) {
      await phone.setViewportSize({ width, height: 800 });
      const overflow = await phone.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, `${path} is ${overflow}px too wide at ${width}px`);
    }
    await phone.setViewportSize({ width: 390, height: 800 });
  }
  await screenshot(phone, "phone-documents");
  await visit(phone, address);
  await phone.getByRole("button", { name: "Open the menu" }).click();
  await phone.locator(".sidebar.is-open").waitFor();
  await phone.waitForTimeout(300);
  await screenshot(phone, "phone-menu");
  await phone.getByRole("button", { name: "Close the menu" }).click();
  await phone.locator(".cite").first().click();
  await phone.locator(".panel mark, .panel .is-start").first().waitFor();
  await phone.waitForTimeout(400);
  await screenshot(phone, "phone-citation");
  assert.deepEqual(phone.problems, []);
  await phone.context().close();
});

step("an administrator uploads, sees why a file failed, and removes", async () => {
  await page.getByRole("link", { name: "Documents" }).click();
  await page.locator(".documents tbody tr").first().waitFor();
  await screenshot(page, "documents");

  await page.getByLabel("Name of the new collection").fill("scratch");
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByRole("heading", { name: "scratch" }).waitFor();
  await page.getByText("This collection is empty").waitFor();
  await screenshot(page, "empty-collection");
  await page.locator("#upload").setInputFiles([
    { name: "canteen.md", mimeType: "text/markdown", buffer: Buffer.from("# Canteen\n\nThe canteen opens at half past eleven on every working day.\n") },
    { name: "broken.pdf", mimeType: "application/pdf", buffer: Buffer.from("this is not a PDF file") },
  ]);
  const row = (name) => page.locator(".documents tbody tr", { hasText: name });
  await row("canteen.md").getByText("Ready").waitFor({ timeout: 60_000 });
  await row("broken.pdf").locator(".file-reason").waitFor({ timeout: 60_000 });
  await screenshot(page, "documents-failed-file");

  await row("broken.pdf").getByRole("button", { name: /^Remove/ }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
  await row("broken.pdf").waitFor({ state: "detached" });

  await page.getByRole("button", { name: "Delete collection" }).click();
  await page.getByRole("dialog").waitFor();
  await screenshot(page, "confirm");
  await page.getByRole("button", { name: "Delete the collection" }).click();
  await page.getByRole("heading", { name: "scratch" }).waitFor({ state: "detached" });
});

step("a broken connection is said in plain words, with a way out", async () => {
  await page.expectFailures(async () => {
    await page.getByRole("link", { name: "New chat" }).click();
    await page.locator(".welcome").waitFor();
    await page.route("**/api/conversations/*", (route) => route.abort());
    await page.locator(".conversation-link").first().click();
    await page.getByText("No connection").waitFor();
    await screenshot(page, "error");
    await page.unroute("**/api/conversations/*");
  });
  await page.getByRole("button", { name: "Try again" }).click();
  await page.locator(".turn").first().waitFor();
});

step("an address that leads nowhere says so", async () => {
  await page.expectFailures(() => visit(page, `${url}/no/such/page`));
  await page.getByRole("heading", { name: "This page does not exist" }).waitFor();
  await screenshot(page, "not-found");
  await page.getByRole("link", { name: "Go to the chat" }).click();
  await page.locator(".welcome").waitFor();
});

step("a conversation is deleted after a question", async () => {
  const row = page.locator(".conversation").first();
  await row.hover();
  await row.getByRole("button", { name: /^Delete/ }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
  assert.equal(await page.locator(".conversation").count(), 1);
  await row.hover();
  await row.getByRole("button", { name: /^Delete/ }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.getByText("Your conversations will be kept here.").waitFor();
});

step("after signing out nothing is reachable", async () => {
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(/\/sign-in/);
  const status = await page.expectFailures(() => page.evaluate(async () => (await fetch("/api/me")).status));
  assert.equal(status, 401);
  await page.expectFailures(async () => {
    await visit(page, url);
    await page.waitForURL(/\/sign-in/);
  });
  await signIn();
});
