import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { ROOT } from "../scripts/bundle.ts";
import { REPOSITORY, SOURCE } from "../scripts/image/image-config.ts";
import { readVersion, versionPlaces, versionProblems } from "../scripts/version-places.ts";

interface Step {
  readonly uses?: string;
  readonly run?: string;
  readonly with?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
}

interface Job {
  readonly permissions?: Readonly<Record<string, string>>;
  readonly needs?: string | readonly string[];
  readonly container?: { readonly image: string };
  readonly steps: readonly Step[];
  readonly "timeout-minutes"?: number;
}

interface Workflow {
  readonly on: Readonly<Record<string, unknown>>;
  readonly permissions?: unknown;
  readonly env?: Readonly<Record<string, string>>;
  readonly jobs: Readonly<Record<string, Job>>;
}

const FOLDER = join(ROOT, ".github/workflows");
const TEXTS = new Map(
  readdirSync(FOLDER).map((file) => [file, readFileSync(join(FOLDER, file), "utf8")]),
);
const WORKFLOWS = new Map(
  [...TEXTS].map(([file, text]) => [file, parse(text) as Workflow] as const),
);
const PAGE = readFileSync(join(ROOT, "docs/releasing.md"), "utf8");
const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
const release = WORKFLOWS.get("release.yml") as Workflow;

const jobs = [...WORKFLOWS].flatMap(([file, { jobs: all }]) =>
  Object.entries(all).map(([name, job]) => ({ title: `${file}, ${name}`, job })),
);

/** Whoever needs a right says here what for; nothing else may have one. */
const RIGHTS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "ci.yml, check": { contents: "read" },
  "release.yml, check": { contents: "read" },
  "release.yml, build": { contents: "read" },
  // Push, sign by the workflow's identity, keep the attestations.
  "release.yml, image": { attestations: "write", "id-token": "write", packages: "write" },
  "release.yml, chart": { attestations: "write", "id-token": "write", packages: "write" },
  // npm's trusted publishing.
  "release.yml, npm": { "id-token": "write" },
  "release.yml, release": { attestations: "write", contents: "write", "id-token": "write" },
};

test("workflows give each job the rights it needs, and nobody else any", () => {
  for (const [file, { permissions }] of WORKFLOWS) assert.deepEqual(permissions, {}, file);
  assert.deepEqual(
    Object.fromEntries(jobs.map(({ title, job }) => [title, job.permissions])),
    RIGHTS,
  );
});

test("workflows pin every action by its commit, with the version beside it and in docs/releasing.md", () => {
  for (const [file, text] of TEXTS) {
    const lines = text.split("\n").filter((line) => /^\s*(- )?uses:/.test(line));
    assert.ok(lines.length > 0, file);
    for (const line of lines) {
      const pinned = /uses: ([\w-]+\/[\w/-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$/.exec(line);
      assert.ok(pinned, `${file}: ${line}`);
      const [, action, commit, version] = pinned;
      assert.ok(PAGE.includes(`| \`${action}\` | ${version} | \`${commit}\` |`), `${action}`);
    }
  }
  // Two workflows, one commit.
  const used = new Map<string, Set<string>>();
  for (const { job } of jobs) {
    for (const { uses = "" } of job.steps.filter((step) => step.uses)) {
      const [action = "", commit = ""] = uses.split("@");
      used.set(action, (used.get(action) ?? new Set()).add(commit));
    }
  }
  for (const [action, commits] of used) assert.equal(commits.size, 1, action);
});

test("workflows call only scripts and files that exist, and end by themselves", () => {
  for (const { title, job } of jobs) {
    assert.ok(Number(job["timeout-minutes"]) > 0, title);
    for (const { run = "" } of job.steps) {
      for (const [, script = ""] of run.matchAll(/\bnpm run ([\w:-]+)/g)) {
        assert.ok(script in manifest.scripts, `${title}: npm run ${script}`);
      }
      for (const [, path = ""] of run.matchAll(/(?<![\w/.])((?:infra|\.ci)\/[\w/.-]+)/g)) {
        assert.ok(readable(path), `${title}: ${path}`);
      }
    }
    if (job.container) {
      assert.equal(job.container.image, `node:${manifest.devDependencies.node}-bookworm`, title);
    }
  }
});

function readable(path: string): boolean {
  const [folder = "", name = ""] = [join(ROOT, path, ".."), path.split("/").at(-1) ?? ""];
  return readdirSync(folder).includes(name);
}

test("workflows put nothing that others write, and no secret, into a command", () => {
  for (const { title, job } of jobs) {
    for (const { run = "", with: inputs = {}, env = {} } of job.steps) {
      // An expression would become part of the script; variables do not.
      assert.doesNotMatch(run, /\$\{\{/, title);
      assert.doesNotMatch(run, /set -x|--debug|printenv|\benv\b\s*$/m, title);
      for (const [, name = ""] of run.matchAll(/(?:echo|printf|cat)[^\n]*\$\{?(\w+)/g)) {
        assert.doesNotMatch(name, /TOKEN|SECRET|PASSWORD|KEY/, title);
      }
      for (const [name, value] of Object.entries(env)) {
        if (value.includes("github.token")) assert.match(name, /^(GH_)?TOKEN$/, title);
        assert.doesNotMatch(value, /secrets\.|github\.event\./, title);
      }
      if ("persist-credentials" in inputs) assert.equal(inputs["persist-credentials"], false);
    }
    const checkouts = job.steps.filter(({ uses = "" }) => uses.startsWith("actions/checkout@"));
    for (const { with: inputs } of checkouts) assert.equal(inputs?.["persist-credentials"], false);
  }
  for (const [file, text] of TEXTS) {
    assert.doesNotMatch(text, /pull_request_target|workflow_run|secrets\.|secrets: inherit/, file);
  }
});

test("release.yml publishes nothing before the checks, and what publishes builds nothing", () => {
  assert.deepEqual(release.on, { push: { tags: ["v*"] } });
  const needs = (name: string): readonly string[] => {
    const direct = [release.jobs[name]?.needs ?? []].flat();
    return [...direct, ...direct.flatMap((each) => needs(each))];
  };
  for (const [name, { permissions = {}, steps }] of Object.entries(release.jobs)) {
    if (!Object.values(permissions).includes("write")) continue;
    assert.ok(needs(name).includes("check") && needs(name).includes("build"), name);
    const text = steps.map(({ run = "", uses = "" }) => `${run} ${uses}`).join("\n");
    assert.doesNotMatch(text, /npm (ci|run|install)|actions\/checkout/, name);
  }
  const commands = Object.values(release.jobs)
    .flatMap(({ steps }) => steps.map(({ run = "" }) => run))
    .join("\n");
  for (const needed of [
    'npm run versions -- --tag "$GITHUB_REF_NAME"',
    "diff --recursive dist/again dist/image",
    "sha256sum --check SHA256SUMS",
    'cosign sign --yes --recursive "$IMAGE@$DIGEST"',
    'cosign sign --yes "$CHARTS/kube-allowlist@$DIGEST"',
    "cosign attest --yes --type cyclonedx",
    "--provenance",
  ]) {
    assert.ok(commands.includes(needed), needed);
  }
  const attesting = Object.values(release.jobs).filter(({ steps }) =>
    steps.some(({ uses = "" }) => uses.startsWith("actions/attest-build-provenance@")),
  );
  assert.equal(attesting.length, 3);
  assert.equal(release.env?.IMAGE, REPOSITORY);
  assert.equal(`${release.env?.CHARTS}`, `${REPOSITORY.replace(/\/[^/]+$/, "")}/charts`);
});

test("package.json says the repository by which npm believes the provenance", () => {
  assert.equal(manifest.repository.url, `git+${SOURCE}.git`);
});

test("the version is the same wherever it is written", () => {
  assert.deepEqual(versionProblems(readVersion(), versionPlaces()), []);
});

test("versionProblems() notices each place, a wrong tag, and a release that nobody wrote about", () => {
  const places = versionPlaces();
  assert.deepEqual([...places.keys()].toSorted(), [
    "Chart.yaml, appVersion",
    "Chart.yaml, artifacthub.io/images 0",
    "Chart.yaml, version",
    "infra/kustomize/base, the image",
    "package-lock.json",
    "package-lock.json, the package itself",
  ]);
  for (const place of places.keys()) {
    const wrong = new Map([...places, [place, "9.9.9"]]);
    assert.equal(versionProblems(readVersion(), wrong).length, 1, place);
  }
  const all = new Map([["a", "1.2.3"]]);
  const changelog = "# Changelog\n\n## [1.2.3] - 2026-11-21\n";
  assert.deepEqual(versionProblems("1.2.3", all, { tag: "v1.2.3", changelog }), []);
  assert.equal(versionProblems("1.2.3", all, { tag: "1.2.3", changelog }).length, 1);
  assert.equal(versionProblems("1.2.3", all, { tag: "v1.2.4", changelog }).length, 1);
  assert.equal(
    versionProblems("1.2.3", all, { tag: "v1.2.3", changelog: "# Changelog\n" }).length,
    1,
  );
});
