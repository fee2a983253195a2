import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { chmodSync, chownSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { stringify } from "yaml";
import { ROOT } from "../../scripts/bundle.ts";
import { OWN_ID } from "../../scripts/image/layer.ts";
import { PLATFORM_NAMES, PLATFORMS, type PlatformName } from "../../scripts/image/platform.ts";
import { PATHS } from "../../scripts/image/rootfs.ts";
import { podSpecOf } from "../manifests.ts";
import { apply, kustomizeFolder, objectsOf } from "./apply.ts";
import { assetPath, CRANE, IMAGE_PIECES, KUBERNETES, skipWithout } from "./assets.ts";
import { atEnd } from "./at-end.ts";
import { makeCertificates, skipWithoutOpenssl } from "./certificates.ts";
import { freePort, killChildren, startChild, temporaryFolder } from "./child.ts";
import {
  HOST,
  runContainer,
  skipWithoutContainers,
  startContainer,
  type UnpackedImage,
  unpackImage,
} from "./container.ts";
import { eventually } from "./eventually.ts";
import { type KubeApiserver, startKubeApiserver } from "./kube-apiserver.ts";

/*
 * The image that is made without a container engine: its bytes, what others say of it, and that it
 * runs as the chart demands it.
 */

const skip = skipWithout(IMAGE_PIECES);
const skipRun = skip || skipWithoutContainers();
const WITHIN_MS = 60_000;
const BUILD_MS = 240_000;
const IMAGE_BYTES_MAX = 60_000_000;
const run = promisify(execFile);

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platform?: { readonly os: string; readonly architecture: string };
}

interface Summary {
  readonly name: string;
  readonly version: string;
  readonly digest: string;
  readonly platforms: Readonly<
    Record<PlatformName, { readonly digest: string; readonly bytes: number; readonly name: string }>
  >;
}

let out: string;
let again: string;
let summary: Summary;
let image: UnpackedImage;

before(
  async () => {
    if (skip) return;
    out = await makeImage("out", {});
    // Another place, another zone, other rights, another language.
    again = await makeImage("again", { TZ: "Pacific/Chatham", LANG: "tr_TR.UTF-8", UMASK: "077" });
    summary = JSON.parse(readFileSync(join(out, "image.json"), "utf8"));
    if (!skipRun) image = unpackImage(join(out, `${summary.platforms["linux/amd64"].name}.tar`));
  },
  { timeout: BUILD_MS },
);
after(() => killChildren());

/** Runs `npm run image` without npm, offline: there is nobody to be asked by. */
async function makeImage(name: string, env: Readonly<Record<string, string>>): Promise<string> {
  const folder = join(temporaryFolder("layout"), name);
  const args = [join(ROOT, "scripts/image.ts"), "--out", folder];
  const { UMASK = "022", ...others } = env;
  const command = 'umask "$0" && exec "$@"';
  const pieces = ["--pieces", assetPath(IMAGE_PIECES)];
  await run("/bin/sh", ["-c", command, UMASK, process.execPath, ...args, ...pieces], {
    cwd: temporaryFolder("elsewhere"),
    env: { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "", ...others },
    timeout: BUILD_MS,
  });
  return folder;
}

function filesOf(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .toSorted();
}

function sha256Of(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

test("npm run image gives the same bytes twice, in other places and zones and for other users", {
  skip,
}, () => {
  const files = filesOf(out);
  assert.deepEqual(filesOf(again), files);
  assert.ok(files.length > 12, files.join(" "));
  for (const file of files)
    assert.equal(sha256Of(join(again, file)), sha256Of(join(out, file)), file);
});

test("every blob is what its descriptor says, none is missing and none is too much", {
  skip,
}, () => {
  const layout = join(out, "oci");
  const seen = new Set(["index.json", "oci-layout"]);
  const blob = ({ digest, size }: Descriptor) => {
    const path = `blobs/${digest.replace(":", "/")}`;
    const bytes = readFileSync(join(layout, path));
    assert.equal(`sha256:${createHash("sha256").update(bytes).digest("hex")}`, digest);
    assert.equal(bytes.length, size, digest);
    seen.add(path);
    return bytes;
  };
  const json = (descriptor: Descriptor) => JSON.parse(blob(descriptor).toString("utf8"));
  const [top, ...others]: Descriptor[] = JSON.parse(
    readFileSync(join(layout, "index.json"), "utf8"),
  ).manifests;
  assert.ok(top && others.length === 0);
  assert.equal(top.digest, summary.digest);
  const platforms: Descriptor[] = json(top).manifests;
  assert.deepEqual(
    platforms.map(({ platform }) => `${platform?.os}/${platform?.architecture}`),
    PLATFORM_NAMES,
  );
  for (const descriptor of platforms) {
    const manifest = json(descriptor);
    const { layers }: { layers: Descriptor[] } = manifest;
    for (const layer of layers) blob(layer);
    const config = json(manifest.config);
    assert.equal(config.architecture, descriptor.platform?.architecture);
    assert.equal(config.rootfs.diff_ids.length, layers.length);
    const bytes = layers.reduce((sum, { size }) => sum + size, 0);
    assert.ok(bytes <= IMAGE_BYTES_MAX, `${bytes} bytes`);
    const name = `${config.os}/${config.architecture}` as PlatformName;
    const { digest, bytes: told } = summary.platforms[name];
    assert.deepEqual([digest, told], [descriptor.digest, bytes]);
  }
  assert.deepEqual(filesOf(layout), [...seen].toSorted());
  execFileSync("sha256sum", ["--check", "--quiet", "SHA256SUMS"], { cwd: out });
});

test("crane finds the image sound, and a registry gives back what was pushed", {
  skip: skip || skipWithout(CRANE),
}, async (t) => {
  const crane = assetPath(CRANE);
  const home = temporaryFolder("crane");
  const env = { PATH: process.env.PATH ?? "", HOME: home };
  const said = async (...args: readonly string[]) =>
    (await run(crane, [...args], { env, timeout: WITHIN_MS })).stdout.trim();
  for (const { name } of Object.values(summary.platforms)) {
    await said("validate", "--tarball", join(out, `${name}.tar`));
  }
  const port = await freePort();
  const registry = await startChild(
    crane,
    ["registry", "serve", "--address", `127.0.0.1:${port}`],
    {
      env,
      folder: home,
    },
  );
  atEnd(t, () => registry.stop());
  const place = `127.0.0.1:${port}/kube-allowlist:${summary.version}`;
  await eventually(
    "the registry takes the image",
    async () => (await said("push", join(out, "oci"), place)) !== "",
    { withinMs: WITHIN_MS },
  );
  assert.equal(await said("digest", place), summary.digest);
  for (const [platform, { digest }] of Object.entries(summary.platforms)) {
    await said("validate", "--platform", platform, "--remote", place);
    assert.equal(await said("digest", "--platform", platform, place), digest);
    const exported = join(home, "exported.tar");
    await said("export", "--platform", platform, place, exported);
    const list = execFileSync("tar", ["--list", "--file", exported], { encoding: "utf8" });
    assert.match(list, /^usr\/local\/bin\/node$/m);
  }
});

test("the image holds no source, no program but Node and ours, and nothing of a user that is not known", {
  skip: skipRun,
}, () => {
  for (const [platform, { name }] of Object.entries(summary.platforms)) {
    const { root } = unpackImage(join(out, `${name}.tar`));
    const entries = readdirSync(root, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile());
    const paths = files.map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1));
    assert.deepEqual(
      paths.filter((path) => /\.ts$|node_modules|(^|\/)(s?bin)\/|\/dist\//.test(path)).toSorted(),
      [
        "app/dist/cli.cjs",
        "app/dist/forwarder.cjs",
        "usr/local/bin/kube-allowlist",
        "usr/local/bin/node",
      ],
    );
    const { elfMachine } = PLATFORMS[platform as PlatformName];
    const programs = paths.filter((path) => /\.so[.\d]*$|bin\/node$/.test(path));
    assert.ok(programs.length > 8);
    for (const path of programs) {
      const head = readFileSync(join(root, path)).subarray(0, 20);
      assert.equal(head.readUInt16LE(18), elfMachine, `${platform}: ${path}`);
    }
    for (const [path, owner, mode] of [
      ["tmp", 0, 0o1777],
      ["var/lib/kube-allowlist", OWN_ID, 0o700],
      ["home/nonroot", OWN_ID, 0o700],
      ["app/dist/cli.cjs", 0, 0o644],
    ] as const) {
      const { uid, gid, mode: found } = statSync(join(root, path));
      assert.deepEqual([uid, gid, found & 0o7777], [owner, owner, mode], path);
    }
    const bill = JSON.parse(readFileSync(join(out, `${name}.cdx.json`), "utf8"));
    const purls: string[] = bill.components.map(({ purl = "" }) => purl);
    const debs = readdirSync(join(root, "var/lib/dpkg/status.d")).map((file) => {
      const control = readFileSync(join(root, "var/lib/dpkg/status.d", file), "utf8");
      const field = (key: string) => new RegExp(`^${key}: (.*)$`, "m").exec(control)?.[1] ?? "";
      const version = encodeURIComponent(field("Version"));
      const query = `arch=${field("Architecture")}&distro=debian-12`;
      return `pkg:deb/debian/${encodeURIComponent(field("Package"))}@${version}?${query}`;
    });
    assert.deepEqual(
      purls.filter((purl) => purl.startsWith("pkg:deb/")).toSorted(),
      debs.toSorted(),
    );
    assert.equal(bill.metadata.component.version, summary.version);
    // Each of them has its licence there.
    for (const file of readdirSync(join(root, "var/lib/dpkg/status.d"))) {
      assert.ok(readFileSync(join(root, "usr/share/doc", file, "copyright")).length > 100, file);
    }
    const notices = readFileSync(join(root, "app/NOTICES.txt"), "utf8");
    for (const { name: own, version, purl = "" } of bill.components) {
      if (!purl.startsWith("pkg:npm/") || own === "node") continue;
      assert.ok(notices.includes(`\n${own} ${version} (`), purl);
    }
  }
});

test("the image's program runs as nobody's root: version, help, and the whole product for two seconds", {
  skip: skipRun,
}, async () => {
  const version = await runContainer(image, { args: ["--version"] });
  assert.deepEqual(version, { code: 0, signal: null, stdout: `${summary.version}\n`, stderr: "" });
  const help = await runContainer(image, { args: image.settings.Cmd });
  assert.equal(help.code, 0, help.stderr);
  assert.match(help.stdout, /forward .*serve /s);
  // As kubectl exec starts it, by the path.
  const found = await runContainer(image, {
    command: ["/usr/local/bin/node", "-e"],
    args: [
      `process.stdout.write(require("node:child_process").execFileSync("kube-allowlist", ["--version"]))`,
    ],
  });
  assert.deepEqual([found.code, found.stdout], [0, `${summary.version}\n`], found.stderr);
  const dev = await runContainer(image, { args: ["dev", "--seconds", "2"] });
  assert.equal(dev.code, 0, dev.stdout + dev.stderr);
});

test("the image's program may write nothing but /tmp, and has no right of root's", {
  skip: skipRun,
}, async () => {
  const script = `
    const { readFileSync, writeFileSync } = require("node:fs");
    const tried = (path) => {
      try { writeFileSync(path, "x"); return "written"; } catch ({ code }) { return code; }
    };
    const status = readFileSync("/proc/self/status", "utf8");
    const line = (name) => new RegExp("^" + name + ":\\\\s*(.*)$", "m").exec(status)[1].trim();
    process.stdout.write(JSON.stringify({
      ids: [process.getuid(), process.getgid(), process.getgroups()],
      folder: process.cwd(),
      writes: ["/tmp/x", "/x", "/app/x", "/etc/passwd", "/${PATHS.home}/x"].map(tried),
      node: process.version,
      effective: line("CapEff"), permitted: line("CapPrm"), newRights: line("NoNewPrivs"),
    }));`;
  const { stdout, stderr } = await runContainer(image, {
    command: ["/usr/local/bin/node", "--eval"],
    args: [script],
  });
  assert.deepEqual(
    JSON.parse(stdout || "null"),
    {
      ids: [OWN_ID, OWN_ID, [OWN_ID]],
      folder: "/app",
      writes: ["written", "EROFS", "EROFS", "EROFS", "EROFS"],
      node: process.version,
      effective: "0".repeat(16),
      permitted: "0".repeat(16),
      newRights: "1",
    },
    stderr,
  );
});

test("the image's authorities are Debian's, and Node reads all of them", {
  skip: skipRun,
}, async () => {
  const bundle = readFileSync(join(image.root, "etc/ssl/certs/ca-certificates.crt"), "utf8");
  const count = bundle.match(/BEGIN CERTIFICATE/g)?.length ?? 0;
  assert.ok(count > 100, `${count} authorities`);
  const script = `
    const own = require("node:tls").getCACertificates("system");
    process.stdout.write(String(new Set(own.map((text) => text.replace(/\\s/g, ""))).size));`;
  const read = await runContainer(image, {
    command: ["/usr/local/bin/node", "--use-system-ca", "--eval"],
    args: [script],
  });
  assert.deepEqual([read.stdout, read.code], [String(count), 0], read.stderr);
});

/** Answers every question for an IPv4 address with this one (RFC 1035, section 4). */
async function startNameServer(t: TestContext, place: string, address: string): Promise<boolean> {
  const socket = createSocket("udp4");
  atEnd(t, () => socket.close());
  socket.on("message", (question, { port, address: asker }) => {
    const end = question.indexOf(0, 12) + 5;
    const isA = question.readUInt16BE(end - 4) === 1;
    const head = Buffer.from([0x81, 0x80, 0, 1, 0, isA ? 1 : 0, 0, 0, 0, 0]);
    const record = Buffer.from([
      0xc0,
      12,
      0,
      1,
      0,
      1,
      0,
      0,
      0,
      60,
      0,
      4,
      ...address.split(".").map(Number),
    ]);
    const parts = [question.subarray(0, 2), head, question.subarray(12, end)];
    socket.send(Buffer.concat(isA ? [...parts, record] : parts), port, asker);
  });
  return new Promise((resolve) => {
    socket.once("error", () => resolve(false));
    socket.bind(53, place, () => resolve(true));
  });
}

test("the image finds names in the hosts file and by DNS", { skip: skipRun }, async (t) => {
  const place = "127.53.0.1";
  if (!(await startNameServer(t, place, "203.0.113.53"))) {
    t.skip(`Cannot answer for names: port 53 of ${place} cannot be listened on`);
    return;
  }
  const script = `
    const { lookup } = require("node:dns/promises");
    Promise.all(["${HOST}", "db.example"].map((name) => lookup(name, { family: 4 })))
      .then((all) => process.stdout.write(all.map(({ address }) => address).join()));`;
  const { stdout, stderr } = await runContainer(image, {
    command: ["/usr/local/bin/node", "--eval"],
    args: [script],
    nameServer: place,
  });
  assert.equal(stdout, "127.0.0.1,203.0.113.53", stderr);
});

/** A folder as a runtime mounts one: readable for the image's group alone. */
function volumeOf(files: Readonly<Record<string, string>>): string {
  const folder = temporaryFolder("volume");
  chmodSync(folder, 0o750);
  chownSync(folder, OWN_ID, OWN_ID);
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o440 });
    chownSync(path, 0, OWN_ID);
  }
  return folder;
}

function forwarderAlone(): string {
  const path = join(image.root, "app/dist/forwarder.cjs");
  return volumeOf({ "forwarder.cjs": readFileSync(path, "utf8") });
}

async function startReceiver(t: TestContext, key: string) {
  const port = await freePort();
  const config = {
    version: 1,
    installation: "e2e",
    store: { kind: "file", path: "/var/lib/kube-allowlist" },
    clusters: {
      eu: {
        auth: { signature: { keys: ["file:/var/run/secrets/kube-allowlist-signature/key"] } },
        bounds: ["203.0.113.0/24"],
      },
    },
    lists: {
      open: {
        from: [{ cluster: "eu", nodes: { pool: "payments" }, addresses: ["ExternalIP"] }],
        removal: { policy: "sync", grace: "2s", maxRatio: 1 },
        targets: [{ kind: "feed", open: true }],
      },
    },
  };
  const container = await startContainer(image, {
    args: [
      ...["serve", "--config", "/etc/kube-allowlist/allowlist.yaml"],
      ...["--host", "127.0.0.1", "--port", String(port), "--resync", "2s"],
    ],
    volumes: {
      "etc/kube-allowlist": {
        folder: volumeOf({ "allowlist.yaml": stringify(config) }),
        mode: "ro",
      },
      "var/run/secrets/kube-allowlist-signature": { folder: volumeOf({ key }), mode: "ro" },
      "var/lib/kube-allowlist": { folder: volumeOf({}), mode: "rw" },
    },
  });
  atEnd(t, () => container.stop());
  const get = (path: string) =>
    fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(5_000) });
  await container.waitFor(async () => (await get("/healthz")).ok, WITHIN_MS);
  const entries = async () => {
    const answer = await get("/v1/lists/open.txt");
    const lines = (await answer.text()).split("\n").map((line) => line.trim());
    return answer.ok ? lines.filter((line) => /^[0-9]/.test(line)) : [];
  };
  return { container, port, entries };
}

/** The TLS that is the user's to give, with a certificate of an authority of their own. */
async function startFront(t: TestContext, port: number) {
  const { authority, certificate, key } = makeCertificates([`DNS:${HOST}`]);
  const options = { key: readFileSync(key), cert: readFileSync(certificate) };
  const server = createServer(options, (asked, answer) => {
    const { method = "GET", url: path = "/", headers } = asked;
    const passed = request({ host: "127.0.0.1", port, method, path, headers }, (given) => {
      answer.writeHead(given.statusCode ?? 502, given.headers);
      given.pipe(answer);
    });
    passed.on("error", () => answer.writeHead(502).end());
    asked.pipe(passed);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  atEnd(t, () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  const authorities = volumeOf({ "ca.crt": readFileSync(authority, "utf8") });
  const { port: own } = server.address() as AddressInfo;
  return { url: `https://${HOST}:${own}/v1/snapshots`, authorities };
}

/** The forwarder's container as the shipped Deployment has it, with the files of a pod. */
async function startForwarder(
  t: TestContext,
  kube: KubeApiserver,
  receiver: { readonly key: string; readonly url: string; readonly authorities: string },
) {
  const shipped = objectsOf(kustomizeFolder("base"));
  await apply(kube, shipped);
  const [deployment] = shipped.filter(({ kind }) => kind === "Deployment");
  assert.ok(deployment);
  const [settings] = podSpecOf(deployment).containers;
  assert.ok(settings);
  const namespace = deployment.metadata.namespace ?? "";
  const account = volumeOf({
    namespace,
    token: await kube.createToken(namespace, "forwarder"),
    "ca.crt": readFileSync(kube.caFile, "utf8"),
  });
  const { KUBE_ALLOWLIST_TOKEN_FILE: _, ...given } = Object.fromEntries(
    (settings.env ?? []).map(({ name, value }) => [name, value]),
  );
  const port = await freePort();
  const container = await startContainer(image, {
    args: Reflect.get(settings, "args") as readonly string[],
    env: {
      ...given,
      KUBE_ALLOWLIST_URL: receiver.url,
      KUBE_ALLOWLIST_CLUSTER: "eu",
      KUBE_ALLOWLIST_LABELS: "pool",
      KUBE_ALLOWLIST_SECRET_FILE: "/var/run/secrets/kube-allowlist-signature/key",
      KUBE_ALLOWLIST_LISTEN: `127.0.0.1:${port}`,
      NODE_EXTRA_CA_CERTS: "/etc/kube-allowlist-authorities/ca.crt",
      KUBERNETES_SERVICE_HOST: "127.0.0.1",
      KUBERNETES_SERVICE_PORT: String(kube.port),
    },
    volumes: {
      "var/run/secrets/kubernetes.io/serviceaccount": { folder: account, mode: "ro" },
      "var/run/secrets/kube-allowlist-signature": {
        folder: volumeOf({ key: receiver.key }),
        mode: "ro",
      },
      "etc/kube-allowlist-authorities": { folder: receiver.authorities, mode: "ro" },
      // Its own bundle is all that it starts: loading the whole program takes twice as long.
      "app/dist": { folder: forwarderAlone(), mode: "ro" },
    },
  });
  atEnd(t, () => container.stop());
  return { container, probe: (path: string) => fetch(`http://127.0.0.1:${port}/${path}`) };
}

test("forwarder and receiver of the image bring a real cluster's nodes onto a list, over TLS, with the shipped settings", {
  skip: skipRun || skipWithout(KUBERNETES) || skipWithoutOpenssl(),
  timeout: 5 * WITHIN_MS,
}, async (t) => {
  const kube = await startKubeApiserver();
  atEnd(t, () => kube.stop());
  const key = `whsec_${randomBytes(32).toString("base64")}\n`;
  const receiver = await startReceiver(t, key);
  const { url, authorities } = await startFront(t, receiver.port);
  const forwarder = await startForwarder(t, kube, { key, url, authorities });
  const joinNode = (name: string, host: number) =>
    kube.createNode({
      name,
      labels: { pool: "payments" },
      addresses: [{ type: "ExternalIP", address: `203.0.113.${host}` }],
    });
  const arrives = (expected: string) =>
    forwarder.container.waitFor(
      async () => (await receiver.entries()).join() === expected,
      WITHIN_MS,
    );
  await joinNode("first", 1);
  await arrives("203.0.113.1/32");
  await joinNode("second", 2);
  await arrives("203.0.113.1/32,203.0.113.2/32");
  for (const path of ["healthz", "readyz"]) {
    assert.equal((await forwarder.probe(path)).status, 200, path);
  }
  const started = readFileSync(`/proc/${forwarder.container.pid}/cmdline`, "utf8").split("\0");
  assert.deepEqual(started.slice(0, 3), [`/${PATHS.node}`, `/${PATHS.program}`, "forward"]);
  assert.deepEqual(await forwarder.container.stop(), { code: 0, signal: null });
  assert.deepEqual(await receiver.container.stop(), { code: 0, signal: null });
});
