import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { type TestContext, test } from "node:test";
import { NotInArchive, openAptArchive } from "../../scripts/image/apt.ts";

/** An apt-get that can update, and says this to anything else. */
function fakeApt(t: TestContext, said: string): void {
  const folder = mkdtempSync(join(tmpdir(), "kube-allowlist-fake-apt-"));
  const file = join(folder, "apt-get");
  const lines = [
    "#!/bin/sh",
    'for word; do [ "$word" = update ] && exit 0; done',
    `echo "${said}" >&2`,
    "exit 100",
  ];
  writeFileSync(file, `${lines.join("\n")}\n`);
  chmodSync(file, 0o755);
  const before = process.env.PATH ?? "";
  process.env.PATH = `${folder}${delimiter}${before}`;
  t.after(() => {
    process.env.PATH = before;
    rmSync(folder, { recursive: true });
  });
}

function failureOf(t: TestContext, said: string): unknown {
  fakeApt(t, said);
  const archive = openAptArchive("amd64");
  try {
    return archive.download("libc6", "2.36-9");
  } catch (error) {
    return error;
  } finally {
    archive.close();
  }
}

// Only for the first may another version be taken instead: .ci/run does.
test("openAptArchive() says when a pinned version has left the archive, and the way out", (t) => {
  const failure = failureOf(t, "E: Version '2.36-9' for 'libc6' was not found");
  assert.ok(failure instanceof NotInArchive);
  assert.match(failure.message, /libc6 2\.36-9 for amd64.*--update-lock/);
});

for (const said of ["E: Hash Sum mismatch", "Err: 503 Unavailable", "E: Could not resolve host"]) {
  test(`openAptArchive() takes "${said}" for no version that has left`, (t) => {
    const failure = failureOf(t, said);
    assert.ok(failure instanceof Error && !(failure instanceof NotInArchive));
    assert.match(failure.message, /libc6 2\.36-9 for amd64/);
  });
}
