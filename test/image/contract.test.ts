import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { ROOT } from "../../scripts/bundle.ts";
import {
  CONTAINER,
  imageConfig,
  labelsOf,
  type Origin,
  REPOSITORY,
} from "../../scripts/image/image-config.ts";
import { OWN_ID, type Tree } from "../../scripts/image/layer.ts";
import { PLATFORM_NAMES } from "../../scripts/image/platform.ts";
import { appTree, PATHS } from "../../scripts/image/rootfs.ts";
import { VALUES } from "../chart.ts";
import { manifestsOf, podSpecOf } from "../manifests.ts";

/*
 * Chart, Dockerfile and the image that is made without an engine mean the same container.
 */

const read = (path: string) => readFileSync(join(ROOT, path), "utf8");
const TEMPLATES = "infra/helm/kube-allowlist/templates";
const DOCKERFILE = read("infra/image/Dockerfile");
const ORIGIN: Origin = { version: "1.2.3", revision: "a".repeat(40), created: new Date(0) };
const ENV = new Map(
  CONTAINER.Env.map((pair): [string, string] => {
    const at = pair.indexOf("=");
    return [pair.slice(0, at), pair.slice(at + 1)];
  }),
);

/** Instructions of the Dockerfile's last stage, with continued lines joined. */
const FINAL = DOCKERFILE.replaceAll("\\\n", " ")
  .split("\n")
  .map((line) => line.trim().replace(/\s+/g, " "))
  .filter((line) => line !== "" && !line.startsWith("#"));
const LAST_STAGE = FINAL.slice(FINAL.findLastIndex((line) => line.startsWith("FROM ")));

const instruction = (word: string) =>
  LAST_STAGE.filter((line) => line.startsWith(`${word} `)).map((line) =>
    line.slice(word.length + 1),
  );

test("the image runs as the user that the chart demands", () => {
  const pod = read(`${TEMPLATES}/_pod.tpl`);
  for (const setting of ["runAsUser", "runAsGroup", "fsGroup"]) {
    assert.match(pod, new RegExp(`^${setting}: ${OWN_ID}$`, "m"), setting);
  }
  assert.equal(CONTAINER.User, `${OWN_ID}:${OWN_ID}`);
  assert.deepEqual(instruction("USER"), [CONTAINER.User]);
  const passwd = read("infra/image/rootfs/etc/passwd");
  assert.match(passwd, new RegExp(`^nonroot:x:${OWN_ID}:${OWN_ID}:.*:/${PATHS.home}:`, "m"));
});

test("the chart gives the image's program arguments alone, and finds node and kube-allowlist on its path", () => {
  const [forwarder] = manifestsOf(join(ROOT, "infra/kustomize/base")).flatMap((object) =>
    object.kind === "Deployment" ? podSpecOf(object).containers : [],
  );
  assert.ok(forwarder);
  assert.equal(Reflect.get(forwarder, "command"), undefined);
  assert.deepEqual(Reflect.get(forwarder, "args"), ["forward"]);
  assert.match(String(Reflect.get(forwarder, "image")), new RegExp(`^${REPOSITORY}:`));
  assert.doesNotMatch(read(`${TEMPLATES}/receiver/deployment.yaml`), /^\s+command:/m);
  assert.match(read(`${TEMPLATES}/receiver/deployment.yaml`), /args:\n\s+- serve\n/);
  assert.match(read(`${TEMPLATES}/tests/receiver.yaml`), /command:\n\s+- node\n/);
  assert.match(read(`${TEMPLATES}/NOTES.txt`), /exec deploy\/.* -- kube-allowlist status/);
  assert.deepEqual(CONTAINER.Entrypoint, [`/${PATHS.program}`]);
  const folders = (ENV.get("PATH") ?? "").split(":");
  for (const program of [PATHS.node, PATHS.program]) {
    assert.ok(folders.includes(`/${program.replace(/\/[^/]+$/, "")}`), program);
  }
});

test("the image's program starts its own Node and the launcher, where they are", () => {
  const text = read(`infra/image/rootfs/${PATHS.program}`);
  assert.equal(text.split("\n")[0], `#!/${PATHS.node}`);
  assert.match(text, new RegExp(`^require\\("/${PATHS.launcher}"\\);$`, "m"));
  assert.equal(statSync(join(ROOT, "infra/image/rootfs", PATHS.program)).mode & 0o111, 0o111);
});

test("appTree() holds the launcher and the bundles that it looks for, and no sources", () => {
  const bundle = Buffer.from("x");
  const bundles = new Map([
    ["cli.cjs", bundle],
    ["forwarder.cjs", bundle],
  ]);
  const tree: Tree = appTree({ bundles, notices: "" });
  assert.deepEqual([...tree.keys()].toSorted(), [
    "app/LICENSE",
    "app/NOTICES.txt",
    "app/cli/kube-allowlist.cjs",
    "app/dist/cli.cjs",
    "app/dist/forwarder.cjs",
    "usr/local/bin/kube-allowlist",
  ]);
  const launcher = read("cli/kube-allowlist.cjs");
  for (const name of bundles.keys()) assert.ok(launcher.includes(`"dist", "${name}"`), name);
});

test("the store's folder of the image is where the chart mounts it, and belongs to the program", () => {
  assert.match(
    read(`${TEMPLATES}/_receiver-config.tpl`),
    new RegExp(`"kube-allowlist.storePath" -}}\\n/${PATHS.store}\\n`),
  );
  const chown = `--chown=${CONTAINER.User} --chmod=700 /empty /${PATHS.store}`;
  assert.ok(instruction("COPY").some((copy) => copy.endsWith(chown)));
});

test("the image has the variables that the chart's values have", () => {
  const { nodeOptions } = VALUES.forwarder as { readonly nodeOptions: string };
  assert.equal(ENV.get("NODE_OPTIONS"), nodeOptions);
  assert.equal(ENV.get("SSL_CERT_FILE"), `/${PATHS.authorities}`);
});

test("the Dockerfile makes the same container as npm run image", () => {
  assert.deepEqual(instruction("WORKDIR"), [CONTAINER.WorkingDir]);
  assert.deepEqual(
    instruction("ENTRYPOINT").map((text) => JSON.parse(text)),
    [CONTAINER.Entrypoint],
  );
  assert.deepEqual(
    instruction("CMD").map((text) => JSON.parse(text)),
    [CONTAINER.Cmd],
  );
  assert.deepEqual(instruction("ENV").join(" ").split(" "), CONTAINER.Env);
  const labels = labelsOf(ORIGIN);
  for (const [, key = "", value] of DOCKERFILE.matchAll(/(org\.opencontainers\S+)="([^"]+)"/g)) {
    assert.equal(labels[key], value, key);
  }
  const copied = instruction("COPY").map((copy) => copy.split(" ").at(-1));
  const tree = appTree({ bundles: new Map([["cli.cjs", Buffer.of()]]), notices: "" });
  for (const path of [PATHS.node, ...tree.keys()].filter((each) => !each.includes("/dist/"))) {
    assert.ok(copied.includes(`/${path}`), path);
  }
  assert.ok(copied.includes("/app/dist/"));
});

test("the Dockerfile names its base images once, by tags, and runs no script of any package", () => {
  const { devDependencies } = JSON.parse(read("package.json"));
  assert.match(
    DOCKERFILE,
    new RegExp(`^ARG NODE_IMAGE=node:${devDependencies.node}-bookworm-slim$`, "m"),
  );
  assert.match(DOCKERFILE, /^ARG BASE_IMAGE=\S+\/distroless\/\S+:nonroot$/m);
  for (const line of FINAL.filter((each) => each.startsWith("FROM "))) {
    assert.match(line, /^FROM (--platform=\$BUILDPLATFORM )?\$\{(NODE|BASE)_IMAGE\}( AS \w+)?$/);
  }
  assert.match(DOCKERFILE, /^RUN npm ci --ignore-scripts$/m);
  assert.doesNotMatch(LAST_STAGE.join("\n"), /^(RUN|ADD) /m);
});

test("what the Dockerfile copies from the repository is let through, and nothing else", () => {
  const [first, ...rules] = read("infra/image/Dockerfile.dockerignore")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  assert.equal(first, "*");
  const letThrough = rules.map((rule) => rule.replace(/^!/, ""));
  const taken = FINAL.filter((line) => /^COPY (?!--from)/.test(line)).flatMap((line) =>
    line
      .split(" ")
      .slice(1, -1)
      .filter((word) => !word.startsWith("--") && word !== "."),
  );
  for (const path of taken) {
    assert.ok(
      letThrough.some((rule) => path === rule || path.startsWith(`${rule}/`)),
      path,
    );
  }
  assert.deepEqual(
    letThrough.filter((rule) => /node_modules|dist|test|\.git|yaml/.test(rule)),
    [],
  );
});

test("imageConfig() says what OCI wants, and depends on the sources alone", () => {
  const layers = [{ diffId: "sha256:1", title: "Node" }];
  for (const platform of PLATFORM_NAMES) {
    const config = Object(imageConfig(ORIGIN, platform, layers));
    assert.equal(`${config.os}/${config.architecture}`, platform);
    assert.deepEqual(config.rootfs, { type: "layers", diff_ids: ["sha256:1"] });
    assert.equal(config.created, "1970-01-01T00:00:00Z");
    assert.equal(config.history.length, layers.length);
    assert.deepEqual(config.config.Labels, labelsOf(ORIGIN));
  }
  assert.deepEqual(labelsOf(ORIGIN), {
    "org.opencontainers.image.created": "1970-01-01T00:00:00Z",
    "org.opencontainers.image.description":
      "Keeps firewalls, security groups and database allow lists in step with the nodes of " +
      "clusters",
    "org.opencontainers.image.licenses": "Apache-2.0",
    "org.opencontainers.image.revision": "a".repeat(40),
    "org.opencontainers.image.source": "https://github.com/kube-allowlist/kube-allowlist",
    "org.opencontainers.image.title": "kube-allowlist",
    "org.opencontainers.image.url": "https://kube-allowlist.dev",
    "org.opencontainers.image.version": "1.2.3",
  });
  const unknown = labelsOf({ ...ORIGIN, revision: null });
  assert.ok(!("org.opencontainers.image.revision" in unknown));
});

test("the image's repository is the one that the chart pulls from", () => {
  const { repository } = VALUES.image as { readonly repository: string };
  assert.equal(REPOSITORY, repository);
  const { annotations } = parse(read("infra/helm/kube-allowlist/Chart.yaml"));
  assert.ok(annotations["artifacthub.io/images"].includes(`image: ${REPOSITORY}:`));
});
