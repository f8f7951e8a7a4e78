#!/usr/bin/env python3
"""Fits the refusal model of rag/src/refusal.rs.

Usage: scripts/calibrate-refusal.py QUESTIONS.jsonl COLLECTION [cloister options]
QUESTIONS.jsonl is what `cloister eval` reads: {"question", "document", ...}. Start `cloister serve` first, so that the
embedder is loaded once. Every question is searched twice as deep as needed; leaving the hits of its document out gives
the negatives. Prints the coefficients, and for several thresholds the wrong refusals and the refused negatives of a
five-fold cross-validation by document. Needs numpy, `cloister` on the PATH and cargo.
"""
import json
import subprocess
import sys

import numpy as np

NAMES = ["dense", "dense_gap", "agreement", "coverage", "sentence", "missing_facts"]
REWORDED_WEIGHT, REWORDED_OVERLAP = 0.3, 0.4


def hits_of(question, collection, options):
    command = ["cloister", "search", question, "--collection", collection, "-k", "30", "--json", *options]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["hits"]


def features(rows):
    lines = "\n".join(json.dumps({"question": q, "hits": hits[:10]}) for q, hits in rows)
    command = ["cargo", "run", "--release", "-q", "-p", "rag", "--example", "refusal_features"]
    out = subprocess.run(command, input=lines, check=True, capture_output=True, text=True).stdout
    return np.array([[json.loads(line)["features"][n] for n in NAMES] for line in out.splitlines()])


def reworded(found):
    """Questions that share fewer words with their document, as an employee's do."""
    changed = found.copy()
    changed[:, NAMES.index("coverage")] *= REWORDED_OVERLAP
    changed[:, NAMES.index("sentence")] *= REWORDED_OVERLAP
    changed[::2, NAMES.index("agreement")] = 0
    return changed


def fit(found, absent):
    """Logistic regression by Newton's method, L2 1e-3 on standardised features."""
    x = np.r_[found, reworded(found), absent]
    y = np.r_[np.ones(2 * len(found)), np.zeros(len(absent))]
    weight = np.r_[np.full(len(found), 1 - REWORDED_WEIGHT), np.full(len(found), REWORDED_WEIGHT),
                   np.full(len(absent), len(found) / len(absent))]
    mean, scale = x.mean(0), x.std(0) + 1e-9
    z = np.c_[np.ones(len(x)), (x - mean) / scale]
    ridge = 1e-3 * np.diag(np.r_[0, np.ones(x.shape[1])])
    beta = np.zeros(z.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-z @ beta))
        gradient = z.T @ (weight * (p - y)) / weight.sum() + ridge @ beta
        hessian = (z.T * (weight * p * (1 - p))) @ z / weight.sum() + ridge
        beta -= np.linalg.solve(hessian, gradient)
    slopes = beta[1:] / scale
    return beta[0] - slopes @ mean, slopes


def auroc(high, low):
    return np.mean([(h > low).mean() + 0.5 * (h == low).mean() for h in high])


def main():
    path, collection, *options = sys.argv[1:]
    questions = [json.loads(line) for line in open(path, encoding="utf-8") if line.strip()]
    found_rows, absent_rows = [], []
    for q in questions:
        hits = hits_of(q["question"], collection, options)
        found_rows.append((q["question"], hits))
        absent_rows.append((q["question"], [h for h in hits if h["document"] != q["document"]]))
    found, absent = features(found_rows), features(absent_rows)
    documents = sorted({q["document"] for q in questions})
    fold = np.array([documents.index(q["document"]) % 5 for q in questions])
    scores = np.zeros((3, len(questions)))
    for k in range(5):
        train, test = fold != k, fold == k
        intercept, slopes = fit(found[train], absent[train])
        for row, x in enumerate((found, reworded(found), absent)):
            scores[row, test] = 1 / (1 + np.exp(-(intercept + x[test] @ slopes)))
    print(f"AUROC {auroc(scores[0], scores[2]):.3f}")
    for threshold in (0.1, 0.2, 0.3, 0.4, 0.5):
        shares = (scores < threshold).mean(1)
        print(f"below {threshold}: wrong refusals {shares[0]:.3f}, reworded {shares[1]:.3f}, refused negatives {shares[2]:.3f}")
    intercept, slopes = fit(found, absent)
    print(f"INTERCEPT {intercept:.3f}", *(f"{n.upper()} {s:.3f}" for n, s in zip(NAMES, slopes)))


if __name__ == "__main__":
    main()
