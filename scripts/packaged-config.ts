import { parse } from "yaml";
import { parseYamlConfig } from "../lib/config/yaml.ts";
import { type Config, parseJsonConfig } from "../lib/config.ts";
import type { Problem } from "../lib/core/snapshot.ts";
import { parseKeySet } from "../lib/wire/jwks.ts";

/** A configuration as it travels with the functions. */
export type PackagedConfig =
  | { readonly kind: "packaged"; readonly config: Config; readonly json: string }
  | { readonly kind: "invalid"; readonly problems: readonly Problem[] };

type Json = Record<string, unknown>;

/**
 * The JSON of a configuration file for the functions' bundles. Pinned public keys are put in, from
 * the files that hold them; of what a key set holds besides, nothing is. Secrets stay references;
 * what refers to a file beside the configuration is a problem, because that file stays behind.
 */
export function packageConfig(
  text: string,
  options: { readonly readFile: (path: string) => string },
): PackagedConfig {
  const reading = parseYamlConfig(text);
  if (reading.kind === "invalid") return reading;
  const file = parse(text) as Json;
  const problems = [
    ...withoutStore(reading.config),
    ...pinKeys(file, options.readFile),
    ...filesLeftBehind(file, ""),
  ];
  if (problems.length > 0) return { kind: "invalid", problems };
  const json = `${JSON.stringify(file, null, 2)}\n`;
  const packaged = parseJsonConfig(json);
  return packaged.kind === "invalid"
    ? packaged
    : { kind: "packaged", config: packaged.config, json };
}

function withoutStore({ store }: Config): readonly Problem[] {
  if (store.kind === "s3" || store.kind === "oss") return [];
  const message =
    `Cannot package functions with a store of kind ${store.kind}: they keep nothing between ` +
    "their runs; use s3 or oss";
  return [{ path: "store.kind", message }];
}

/** Changes `file`: pinned sets become the usable public keys in them. */
function pinKeys(file: Json, readFile: (path: string) => string): readonly Problem[] {
  return Object.entries(objectOf(file.clusters)).flatMap(([cluster, raw]) => {
    const account = objectOf(objectOf(objectOf(raw).auth).serviceAccount);
    const { jwks } = account;
    const path = `clusters.${cluster}.auth.serviceAccount.jwks`;
    try {
      if (typeof jwks === "object") {
        account.jwks = publicSet(JSON.stringify(jwks), account.issuer);
      }
      if (typeof jwks === "string" && jwks.startsWith("file:")) {
        account.jwks = publicSet(readPinned(jwks, readFile), account.issuer);
      }
      return [];
    } catch (error) {
      const message = error instanceof Error ? error.message : "Cannot read the keys";
      return [{ path, message }];
    }
  });
}

/** Of a JSON Web Key, what is public of those that tokens are signed with. */
const PUBLIC_MEMBERS = ["kty", "kid", "use", "key_ops", "alg", "n", "e", "crv", "x", "y"];

function readPinned(reference: string, readFile: (path: string) => string): string {
  try {
    return readFile(reference.slice("file:".length));
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unreadable";
    throw new Error(
      `Cannot read ${reference}: ${code}; write it with "kube-allowlist doctor jwks", or name ` +
        "another file",
    );
  }
}

/**
 * Whoever pinned a private key by mistake shall not hand it on. Throws where no key is usable, and
 * where they are another issuer's: the functions would refuse every delivery.
 */
function publicSet(text: string, issuer: unknown): object {
  const parsed = parseKeySet(text);
  if (parsed.issuer !== null && parsed.issuer !== issuer) {
    throw new Error(
      "Cannot use the key set: the issuer in it is not the configured one; take the one from " +
        '"kube-allowlist doctor jwks" as it stands',
    );
  }
  const set = JSON.parse(text) as { readonly issuer?: unknown; readonly keys: readonly unknown[] };
  const keys = set.keys.filter(isUsable).map((key) => {
    const members = Object.entries(objectOf(key));
    return Object.fromEntries(members.filter(([name]) => PUBLIC_MEMBERS.includes(name)));
  });
  return typeof set.issuer === "string" ? { issuer: set.issuer, keys } : { keys };
}

function isUsable(key: unknown): boolean {
  try {
    parseKeySet(JSON.stringify({ keys: [key] }));
    return true;
  } catch {
    return false;
  }
}

function objectOf(value: unknown): Json {
  return typeof value === "object" && value !== null ? (value as Json) : {};
}

const PINNED = /^clusters\.[^.]+\.auth\.serviceAccount\.jwks$/;

/** Absolute paths may be mounted where the functions run; others lead into the bundle. */
function filesLeftBehind(value: unknown, path: string): readonly Problem[] {
  if (typeof value === "string") {
    // Pinned keys were put in; of those that could not be, the reason was told.
    if (!/^file:(?!\/)/.test(value) || PINNED.test(path)) return [];
    const message =
      `Cannot package ${value}: files beside the configuration stay behind, and no secret ` +
      'travels with a function; write "env:NAME"';
    return [{ path, message }];
  }
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, one]) => {
    const step = Array.isArray(value) ? `[${key}]` : path === "" ? key : `.${key}`;
    return filesLeftBehind(one, `${path}${step}`);
  });
}
