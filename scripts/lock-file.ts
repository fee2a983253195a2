import * as z from "zod/mini";

const entryShape = z.looseObject({
  version: z.optional(z.string()),
  license: z.optional(z.string()),
  engines: z.optional(z.record(z.string(), z.string())),
  dev: z.optional(z.boolean()),
  optionalDependencies: z.optional(z.record(z.string(), z.string())),
});
const lockShape = z.looseObject({ packages: z.record(z.string(), entryShape) });

type Entry = z.output<typeof entryShape>;

/**
 * The lock file with an entry for every optional package that another one names, and which were
 * added. npm writes an entry in the same way, but for the checksum.
 */
export function completeLock(lock: string): {
  readonly text: string;
  readonly added: readonly string[];
} {
  const file: unknown = JSON.parse(lock);
  const parsed = lockShape.parse(file);
  const missing = new Map<string, Entry>();
  for (const owner of Object.values(parsed.packages)) {
    for (const [name, version] of Object.entries(owner.optionalDependencies ?? {})) {
      const path = `node_modules/${name}`;
      if (parsed.packages[path] === undefined) missing.set(path, entryOf(name, version, owner));
    }
  }
  // Written from what was read, since parsing would change the order of the members.
  const text = JSON.stringify(
    file,
    (key, value) => (key === "packages" ? withEntries(value, missing) : value),
    2,
  );
  return { text: `${text}\n`, added: [...missing.keys()].toSorted() };
}

// In npm's own order, which it would restore at the next installation.
function withEntries(packages: object, missing: ReadonlyMap<string, Entry>): object {
  const all: [string, unknown][] = [...Object.entries(packages), ...missing];
  return Object.fromEntries(all.sort(([a], [b]) => a.localeCompare(b, "en")));
}

const SYSTEMS = ["aix", "android", "darwin", "freebsd", "linux", "openharmony", "win32"];
const PROCESSORS = [
  "arm",
  "arm64",
  "ia32",
  "loong64",
  "ppc64",
  "riscv64",
  "s390x",
  "wasm32",
  "x64",
];

// `@biomejs/cli-linux-x64-musl`: packages of binaries say in their names what they are for.
function entryOf(name: string, version: string, owner: Entry): Entry {
  if (!/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version)) {
    throw new Error(`Cannot lock ${name}: "${version}" is not one version; install it by hand`);
  }
  const words = (name.split("/").at(-1) ?? "").split("-");
  const os = words.filter((word) => SYSTEMS.includes(word));
  const cpu = words.filter((word) => PROCESSORS.includes(word));
  const libc = words.flatMap((word) => libcOf(word));
  if (os.length !== 1 || cpu.length !== 1) {
    throw new Error(`Cannot lock ${name}: its name tells no platform; install it by hand`);
  }
  return {
    version,
    cpu,
    ...(owner.dev === true ? { dev: true } : {}),
    ...(libc.length > 0 ? { libc } : {}),
    ...(owner.license === undefined ? {} : { license: owner.license }),
    optional: true,
    os,
    ...(owner.engines === undefined ? {} : { engines: owner.engines }),
  };
}

function libcOf(word: string): readonly string[] {
  if (word.startsWith("musl")) return ["musl"];
  return word.startsWith("gnu") ? ["glibc"] : [];
}
