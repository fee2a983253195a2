import type { Rule, Tree, Violation } from "./rule.ts";
import { type Import, resolveImport, type Source } from "./source.ts";

/*
 * Which folder may import what. Arrows point to the core: a file knows what is nearer to it than
 * itself, and only entries know who exists.
 */

interface Room {
  readonly files: RegExp;
  /** Own files that may be imported, at run time too. `$1` is the first group of `files`. */
  readonly own: readonly string[];
  /** Own files of which only types may be imported. */
  readonly types?: readonly string[];
  /** Own files that may be imported dynamically only, or as types. */
  readonly later?: readonly string[];
  readonly packages: readonly RegExp[];
}

const CORE = "lib/core/[^/]+\\.ts";
const WORLD = "lib/world\\.ts";
// What all vendors' files have in common, and all kinds of targets.
// The same variables of the environment for whatever of that vendor is spoken to.
const ALIBABA_KEYS = "lib/clouds/alibaba/environment\\.ts";
const CLOUDS_SHARED =
  "lib/clouds/(bucket|bucket-call|error|partitions|rest|session-name|signature|xml)\\.ts";
// A table of names: what a region's ARNs begin with is for whoever writes policies to know, too.
const PARTITIONS = "lib/clouds/partitions\\.ts";
const TARGETS_SHARED = "lib/targets/(errors|kind|permission|settings|target|whole-list)\\.ts";
// The part of zod that bundles can shake; only tests may use all of it.
const ZOD = /^zod\/mini$/;
const ASSERT = /^node:assert\/strict$/;
const CRYPTO = /^node:crypto$/;
const NODE = /^node:/;

// The first room whose pattern matches a file is its room.
const ROOMS: readonly Room[] = [
  {
    files: /^lib\/(core|feeds|policies)\//,
    own: [CORE, "lib/$1/.*"],
    packages: [/^cidr-tools$/, ZOD, ASSERT, CRYPTO, /^yaml$/],
  },
  { files: /^lib\/world\.ts$/, own: [], packages: [] },
  { files: /^lib\/log-line\.ts$/, own: [], types: [WORLD], packages: [] },
  { files: /^lib\/logger\.ts$/, own: [WORLD, "lib/log-line\\.ts"], packages: [/^pino$/] },
  {
    files: /^lib\/wire\//,
    own: [CORE, "lib/wire/.*"],
    types: [WORLD],
    packages: [ZOD, ASSERT, CRYPTO],
  },
  {
    // A vendor's file, and its folder where one file would be too long. Object storage stands for
    // itself, so that who only stores loads no SDK: it asks its vendor's file for a role's keys.
    files: /^lib\/clouds\/([a-z0-9-]+)(?:\/|\.ts$)/,
    own: [CORE, WORLD, CLOUDS_SHARED, ALIBABA_KEYS, "lib/clouds/$1(/.*|\\.ts)"],
    types: ["lib/clouds/(oss|s3)\\.ts"],
    later: ["lib/clouds/(alibaba|aws)\\.ts"],
    packages: [ZOD, ASSERT, /^@(aws-sdk|smithy|alicloud)\//, NODE],
  },
  {
    files: /^lib\/targets\/(?:connection|kind|left-out|registration|registry)\.ts$/,
    own: [CORE, "lib/targets/.*"],
    types: [WORLD, "lib/clouds/.*"],
    packages: [ZOD, ASSERT],
  },
  {
    // Where a vendor's kinds are put together, and the vendor's file is loaded for them.
    files: /^lib\/targets\/([a-z-]+)\/kinds\.ts$/,
    own: ["lib/targets/$1(/.*|\\.ts)", "lib/targets/(connection|registration)\\.ts"],
    later: ["lib/clouds/$1\\.ts"],
    packages: [],
  },
  {
    files: /^lib\/targets\/([a-z-]+)(?:\/|\.ts$)/,
    own: [CORE, TARGETS_SHARED, PARTITIONS, "lib/targets/$1(/.*|\\.ts)"],
    types: [WORLD, CLOUDS_SHARED, "lib/clouds/$1(/.*|\\.ts)"],
    packages: [ZOD, ASSERT],
  },
  {
    // A cloud is reached for its subnets as it is for its targets.
    files: /^lib\/sources\//,
    own: [CORE, "lib/sources/.*", "lib/targets/(connection|[a-z-]+/common)\\.ts"],
    types: [WORLD, "lib/clouds/.*"],
    later: ["lib/clouds/.*"],
    packages: [ZOD, ASSERT, /^node:dns\/promises$/],
  },
  {
    // What a store is configured with is what targets of its vendor are, and its permissions too.
    files: /^lib\/stores\/(?:settings|permissions)\.ts$/,
    own: [
      PARTITIONS,
      "lib/stores/(key|settings)\\.ts",
      "lib/targets/(connection|settings|[a-z-]+/common)\\.ts",
    ],
    types: ["lib/targets/kind\\.ts"],
    packages: [ZOD],
  },
  {
    files: /^lib\/stores\//,
    own: [CORE, WORLD, "lib/stores/.*"],
    later: ["lib/clouds/.*"],
    packages: [ZOD, ASSERT, /^node:(crypto|fs|fs\/promises|path)$/],
  },
  {
    files: /^lib\/config(\/|\.ts$)/,
    own: [
      CORE,
      "lib/config(/.*|\\.ts)",
      "lib/targets/(registry|settings)\\.ts",
      "lib/sources/subnet-shape\\.ts",
      "lib/stores/settings\\.ts",
    ],
    types: ["lib/targets/kind\\.ts"],
    packages: [ZOD, ASSERT, /^yaml$/],
  },
  {
    // What the functions may do, from the configuration: for those who deploy, never in a bundle.
    files: /^lib\/roles(\/|\.ts$)/,
    own: [
      CORE,
      PARTITIONS,
      "lib/roles(/.*|\\.ts)",
      "lib/targets/(registry|[a-z-]+/common)\\.ts",
      "lib/stores/permissions\\.ts",
    ],
    types: ["lib/config\\.ts", "lib/targets/kind\\.ts"],
    packages: [ZOD],
  },
  {
    // Orchestration: targets, sources, stores and the world come in as arguments.
    files: /^lib\/[a-z-]+\.ts$/,
    own: [
      CORE,
      WORLD,
      "lib/[a-z-]+\\.ts",
      "lib/targets/target\\.ts",
      "lib/stores/(log|lease|slots|store)\\.ts",
    ],
    types: ["lib/(targets|sources|stores)/.*"],
    packages: [ASSERT],
  },
  {
    files: /^functions\//,
    own: ["lib/.*", "functions/.*"],
    packages: [/^@middy\//, ZOD, NODE],
  },
  {
    files: /^forwarder\//,
    own: [CORE, WORLD, "lib/(wire/.*|log-line\\.ts|logger\\.ts)", "forwarder/.*"],
    packages: [/^@kubernetes\/client-node$/, ZOD, NODE, /^prom-client$/],
  },
  {
    files: /^cli\//,
    own: ["lib/.*", "cli/.*", "package\\.json"],
    later: ["functions/.*", "forwarder/.*"],
    packages: [/^commander$/, /^yaml$/, ZOD, NODE],
  },
  {
    files: /^scripts\//,
    own: ["lib/.*", "scripts/.*"],
    packages: [/^esbuild$/, /^modern-tar$/, /^yaml$/, ZOD, NODE],
  },
  { files: /^test\//, own: [".*"], packages: [/./] },
];

// A vendor's SDK, or a library that only some bundles may carry, has one home.
const HOMES: readonly (readonly [RegExp, RegExp])[] = [
  [/^@aws-sdk\/|^@smithy\//, /^lib\/clouds\/aws(\/|\.ts$)/],
  [/^@alicloud\//, /^lib\/clouds\/alibaba(\/|\.ts$)/],
  [/^@kubernetes\/client-node$/, /^forwarder\//],
  [/^@middy\//, /^functions\//],
  [/^commander$/, /^cli\//],
  [/^pino$/, /^lib\/logger\.ts$/],
  [/^cidr-tools$/, /^lib\/core\/(cidr|aggregate)\.ts$/],
  [/^yaml$/, /^(lib\/config\/yaml\.ts|lib\/policies\/.*|cli\/.*|scripts\/.*)$/],
  [/^node:dns/, /^lib\/sources\/dns\.ts$/],
  [/^node:fs/, /^(lib\/stores\/file\.ts|functions\/wiring\.ts|(forwarder|cli|scripts)\/.*)$/],
];

/** Names that only entries may import, whoever exports them: they make a world. */
const ENTRY_NAMES = /\b(makeWorld|makeLogger)\b/;
const ENTRIES = /^(functions\/wiring\.ts|forwarder\/main\.ts|cli\/.*|scripts\/.*|test\/.*)$/;

function roomOf(path: string): Room | undefined {
  return ROOMS.find((room) => room.files.test(path));
}

function allows(
  room: Room,
  path: string,
  patterns: readonly string[],
): (target: string) => boolean {
  const group = room.files.exec(path)?.[1] ?? "";
  const own = patterns.map((pattern) => new RegExp(`^(?:${pattern.replaceAll("$1", group)})$`));
  return (target) => own.some((pattern) => pattern.test(target));
}

function judgeImport(source: Source, room: Room, found: Import): string | null {
  const { specifier, how } = found;
  const target = resolveImport(source.path, specifier);
  if (target === null) {
    const home = HOMES.find(([name]) => name.test(specifier))?.[1];
    const atHome = source.path.startsWith("test/") || home === undefined || home.test(source.path);
    if (!atHome) return `imports ${specifier} outside of its home`;
    return room.packages.some((name) => name.test(specifier)) ? null : `imports ${specifier}`;
  }
  if (ENTRY_NAMES.test(found.names) && !ENTRIES.test(source.path)) {
    return `imports ${found.names} of ${target}, which only entries do`;
  }
  if (allows(room, source.path, room.own)(target)) return null;
  if (allows(room, source.path, room.later ?? [])(target)) {
    return how === "static" ? `imports ${target} statically` : null;
  }
  if (allows(room, source.path, room.types ?? [])(target)) {
    return how === "type" ? null : `imports more than types of ${target}`;
  }
  return `imports ${target}`;
}

function checkImports(tree: Tree): readonly Violation[] {
  return tree.sources.flatMap((source) => {
    const room = roomOf(source.path);
    if (room === undefined) return [{ path: source.path, line: 1, message: "lies in no room" }];
    return source.imports.flatMap((found) => {
      const message = judgeImport(source, room, found);
      return message === null ? [] : [{ path: source.path, line: found.line, message }];
    });
  });
}

export const roomRule: Rule = {
  name: "imports follow the arrows",
  check: checkImports,
  bad: {
    "lib/core/plan.ts": 'import { sync } from "../sync.ts";',
    "lib/core/cidr.ts": 'import { readFile } from "node:fs/promises";',
    "lib/core/feed.ts": 'import * as z from "zod";',
    "lib/wire/protocol.ts": 'import { kinds } from "../targets/registry.ts";',
    "lib/targets/aws/prefix-list.ts": 'import { open } from "../../clouds/aws.ts";',
    "lib/targets/linode/firewall.ts": 'import type { X } from "../aws/security-group.ts";',
    "lib/targets/registry.ts": 'const open = () => import("../clouds/aws.ts");',
    "lib/targets/aws/kinds.ts": 'import { open } from "../../clouds/aws.ts";',
    "lib/targets/memory.ts": 'import { EC2Client } from "@aws-sdk/client-ec2";',
    "lib/config.ts": 'import { parse } from "yaml";',
    "lib/sync.ts": 'import middy from "@middy/core";',
    "lib/sources/subnets.ts": 'import { open } from "../clouds/aws.ts";',
    "lib/sources/names.ts": 'import { kinds } from "../targets/registry.ts";',
    "lib/stores/log.ts": 'import type { Target } from "../targets/target.ts";',
    "lib/survey.ts": 'import { makeWorld } from "./world.ts";',
    "functions/webhook.ts": 'import { delivery } from "../forwarder/delivery.ts";',
    "forwarder/watch.ts": 'const later = await import("../lib/sync.ts");',
    "cli/dev.ts": 'import { handler } from "../functions/webhook.ts";',
    "cli/serve.ts": 'import { KubeConfig } from "@kubernetes/client-node";',
    "tools/x.ts": "",
  },
  good: {
    "lib/core/plan.ts":
      'import { createHash } from "node:crypto";\nimport type { Cidr } from "./cidr.ts";',
    "lib/targets/aws/prefix-list.ts": 'import type { Open } from "../../clouds/aws.ts";',
    "lib/targets/aws/kinds.ts": 'const open = () => import("../../clouds/aws.ts");',
    "lib/sources/reader.ts": 'const open = () => import("../clouds/aws.ts");',
    "cli/dev.ts": 'const later = () => import("../functions/webhook.ts");',
    "lib/config/yaml.ts": 'import { parse } from "yaml";',
  },
};
