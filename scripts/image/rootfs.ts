import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { unpackTar } from "modern-tar";
import { ROOT } from "../bundle.ts";
import { debControl, unpackDeb } from "./deb.ts";
import { OWN_ID, type Tree, type TreeEntry } from "./layer.ts";
import { type DebPiece, debPieces, nodePiece, readPiece } from "./pieces.ts";
import type { Pins } from "./pins.ts";
import type { PlatformName } from "./platform.ts";
import type { Program } from "./program.ts";

/** Where things are in the image. The chart, the Dockerfile and the tests mean the same. */
export const PATHS = {
  node: "usr/local/bin/node",
  program: "usr/local/bin/kube-allowlist",
  app: "app",
  launcher: "app/cli/kube-allowlist.cjs",
  authorities: "etc/ssl/certs/ca-certificates.crt",
  home: "home/nonroot",
  store: "var/lib/kube-allowlist",
} as const;

/** Files of the base that are written here, by their paths in the image. */
const OVERLAY = join(ROOT, "infra/image/rootfs");
const PROGRAM = join(OVERLAY, PATHS.program);

/**
 * Of Debian's packages: shared libraries, the licences, and what says which Debian it is. No
 * program, no module for other alphabets, which Node brings itself.
 */
const WANTED: readonly RegExp[] = [
  /^(usr\/)?lib(64)?\/([a-z0-9_]+-linux-gnu\/)?[^/]+\.so(\.[0-9]+)*$/,
  /^usr\/share\/doc\/[^/]+(\/copyright)?$/,
  /^usr\/share\/common-licenses\//,
  /^(usr\/lib|etc)\/os-release$/,
];
const CERTIFICATE = /^usr\/share\/ca-certificates\/mozilla\/[^/]+\.crt$/;

/** Everything but the program: Node, what it needs of Debian, users, certificates. */
export async function baseTree(pins: Pins, platform: PlatformName, pieces: string): Promise<Tree> {
  const debs = debPieces(pins, platform, pieces);
  const trees: Tree[] = [];
  for (const piece of debs) trees.push(await debTree(piece));
  return new Map<string, TreeEntry>([
    ...merged(trees),
    ...(await nodeTree(pins, platform, pieces)),
    ...overlayTree(),
    // What people may write: an empty volume takes over the owner of the folder it is mounted on.
    ["tmp", { kind: "folder", mode: 0o1777, owner: 0 }],
    [PATHS.home, { kind: "folder", mode: 0o700, owner: OWN_ID }],
    [PATHS.store, { kind: "folder", mode: 0o700, owner: OWN_ID }],
    ["root", { kind: "folder", mode: 0o700, owner: 0 }],
    // A container's own: a runtime mounts something on each of them.
    ...["dev", "proc", "sys", "run"].map((path): [string, TreeEntry] => [
      path,
      { kind: "folder", mode: 0o755, owner: 0 },
    ]),
  ]);
}

/** The program: bundles and launcher, and the licences of what is in them. */
export function appTree(program: Pick<Program, "bundles" | "notices">): Tree {
  const file = (path: string): Uint8Array => readFileSync(join(ROOT, path));
  return new Map<string, TreeEntry>([
    [PATHS.program, executable(readFileSync(PROGRAM))],
    [PATHS.launcher, plain(file("cli/kube-allowlist.cjs"))],
    [`${PATHS.app}/LICENSE`, plain(file("LICENSE"))],
    [`${PATHS.app}/NOTICES.txt`, plain(Buffer.from(program.notices))],
    ...[...program.bundles].map(([name, bytes]): [string, TreeEntry] => [
      `${PATHS.app}/dist/${name}`,
      plain(bytes),
    ]),
  ]);
}

async function debTree(piece: DebPiece): Promise<Tree> {
  readPiece(piece);
  const found = await unpackDeb(
    piece.path,
    (path) => CERTIFICATE.test(path) || WANTED.some((pattern) => pattern.test(path)),
  );
  const kept = [...found].filter(([path]) => !CERTIFICATE.test(path));
  const certificates = [...found].filter(([path]) => CERTIFICATE.test(path));
  const bundle: [string, TreeEntry][] =
    certificates.length === 0 ? [] : [[PATHS.authorities, bundleOf(new Map(certificates))]];
  // By this list scanners know what of Debian is there, without a program that could install.
  const status = plain(Buffer.from(debControl(piece.path)));
  return new Map([...kept, ...bundle, [`var/lib/dpkg/status.d/${piece.name}`, status]]);
}

/** All authorities one after the other, as Debian's own `update-ca-certificates` does it. */
function bundleOf(certificates: Tree): TreeEntry {
  const texts = [...certificates.keys()].toSorted().map((path) => {
    const entry = certificates.get(path);
    const text = entry?.kind === "file" ? Buffer.from(entry.content).toString("utf8") : "";
    return `${text.trimEnd()}\n`;
  });
  return plain(Buffer.from(texts.join("")));
}

async function nodeTree(pins: Pins, platform: PlatformName, pieces: string): Promise<Tree> {
  const wanted = new Map([
    ["package/bin/node", PATHS.node],
    ["package/LICENSE", "usr/local/share/doc/node/LICENSE"],
  ]);
  const tar = gunzipSync(readPiece(nodePiece(pins, platform, pieces)));
  const entries = await unpackTar(tar, { filter: ({ name }) => wanted.has(name) });
  const tree = new Map<string, TreeEntry>();
  for (const { header, data: content = new Uint8Array() } of entries) {
    const isExecutable = header.name === "package/bin/node";
    tree.set(wanted.get(header.name) ?? "", { kind: "file", content, isExecutable });
  }
  if (tree.size !== wanted.size) {
    throw new Error(`Cannot find ${[...wanted.keys()].join(" and ")} in Node's npm package`);
  }
  return tree;
}

function overlayTree(): Tree {
  const paths = readdirSync(OVERLAY, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => path !== PROGRAM);
  return new Map(
    paths.map((path) => [
      path.slice(OVERLAY.length + 1).replaceAll("\\", "/"),
      plain(readFileSync(path)),
    ]),
  );
}

/** Throws where two packages hold the same file with other bytes. */
function merged(trees: readonly Tree[]): Tree {
  const whole = new Map<string, TreeEntry>();
  for (const tree of trees) {
    for (const [path, entry] of tree) {
      if (whole.has(path)) throw new Error(`Cannot take ${path} from two packages`);
      whole.set(path, entry);
    }
  }
  return whole;
}

function plain(content: Uint8Array): TreeEntry {
  return { kind: "file", content, isExecutable: false };
}

function executable(content: Uint8Array): TreeEntry {
  return { kind: "file", content, isExecutable: true };
}
