import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { parse } from "yaml";
import type { Grant, Permissions } from "../lib/targets/kind.ts";
import { kinds } from "../lib/targets/registry.ts";
import { kindNamed } from "./targets/making.ts";

/*
 * The pages of docs/targets against the code: what people paste into their configuration and their
 * policies must be what the product reads and needs.
 */

const FOLDER = new URL("../docs/targets/", import.meta.url);
const ACCOUNT = "123456789012";
const VERSIONS = { iam: "2012-10-17", ram: "1" } as const;

/** Lists that hold one family, which their settings name. */
const SINGLE_FAMILY = new Set(
  Object.keys(kinds).filter((kind) => {
    const { traits } = kindNamed(kind);
    return traits({ family: "ipv6" }).families.join() === "ipv6";
  }),
);

interface Section {
  readonly page: string;
  readonly text: string;
}

/** Sections by the kind that their heading names in backticks. */
const SECTIONS: ReadonlyMap<string, Section> = new Map(
  readdirSync(FOLDER)
    .filter((page) => page.endsWith(".md"))
    .flatMap((page) => {
      const parts = readFileSync(new URL(page, FOLDER), "utf8").split(/^## /m).slice(1);
      return parts.map((text) => [/^`([^`]+)`/.exec(text)?.[1] ?? "", { page, text }] as const);
    })
    .filter(([kind]) => kind !== ""),
);

function fences(text: string, language: string): readonly string[] {
  const fence = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm");
  return [...text.matchAll(fence)].map(([, body = ""]) => body);
}

/** The one target of a section's example, as its kind's schema takes it. */
function exampleOf(kind: string, { text, page }: Section): Readonly<Record<string, unknown>> {
  const [example, ...others] = fences(text, "yaml");
  assert(example !== undefined && others.length === 0, `${page}: one example of ${kind}`);
  const targets: unknown = parse(example);
  assert(Array.isArray(targets) && targets.length === 1, `${page}: one target of ${kind}`);
  const { kind: named, ...settings } = targets[0];
  assert.equal(named, kind);
  return settings;
}

function statements(grants: readonly Grant[]) {
  return grants.map(({ actions, resources, condition }) => ({
    Effect: "Allow",
    Action: actions,
    Resource: resources,
    ...(condition === undefined ? {} : { Condition: condition }),
  }));
}

function policies(needed: Exclude<Permissions, { dialect: "scopes" }>): readonly unknown[] {
  const policy = (grants: readonly Grant[]) => ({
    Version: VERSIONS[needed.dialect],
    Statement: statements(grants),
  });
  const { read, add, remove } = needed;
  // Where a vendor cannot tell removing from adding, there is nothing to grant in addition.
  return [policy([...read, ...add]), ...(remove.length === 0 ? [] : [policy(remove)])];
}

for (const kind of Object.keys(kinds).filter((name) => name.includes("/"))) {
  test(`docs/targets describes ${kind} with an example and the exact permissions`, () => {
    const section = SECTIONS.get(kind);
    assert(section !== undefined, `no section "## \`${kind}\`" in docs/targets`);
    const settings = exampleOf(kind, section);
    const { schema, permissions } = kindNamed(kind);
    const parsed = schema.safeParse(settings);
    assert(parsed.success, `${section.page}: ${parsed.error?.message}`);
    const needed = permissions(settings, ACCOUNT);
    if (needed.dialect === "scopes") return;
    const shown = fences(section.text, "json").map((text): unknown => JSON.parse(text));
    assert.deepEqual(shown, policies(needed));
    const text = JSON.stringify(policies({ ...needed, read: [] }));
    assert(!text.includes('"*"'), "nothing that writes is granted on everything");
  });
}

test("docs/targets/README.md has a row for every kind, with what its traits say", () => {
  const text = readFileSync(new URL("README.md", FOLDER), "utf8");
  const rows = text.split("\n").filter((line) => line.startsWith("| ["));
  const shown = rows.map((row) => /\[`([^`]+)`\]/.exec(row)?.[1] ?? "");
  const expected = Object.keys(kinds).filter((kind) => kind !== "memory");
  assert.deepEqual(shown, expected);
  for (const [index, kind] of shown.entries()) {
    const cells = rows[index]?.split("|").map((cell) => cell.trim()) ?? [];
    const section = SECTIONS.get(kind);
    const settings = section === undefined ? {} : exampleOf(kind, section);
    const { families, settleMs, whenEmpty, marking } = kindNamed(kind).traits(settings);
    assert.equal(cells.at(-2), `${settleMs / 1_000} s`, kind);
    const both = families.length === 2;
    assert.equal(cells[4] === "both", both, kind);
    assert.equal(cells[4]?.includes("IPv6") === true, !both && SINGLE_FAMILY.has(kind), kind);
    assert.equal(cells[3]?.startsWith("marker"), marking === "entry", kind);
    if (!["aws/waf-ip-set", "feed"].includes(kind)) {
      const empty = {
        closed: "closed",
        open: "open: never emptied",
        rejected: "refused: never emptied",
      };
      assert.equal(cells[6], empty[whenEmpty], kind);
    }
  }
});

test("docs/targets describes no kind that there is not", () => {
  for (const kind of SECTIONS.keys()) assert(Object.hasOwn(kinds, kind), kind);
});
