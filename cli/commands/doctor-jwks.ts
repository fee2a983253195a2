import { resolve } from "node:path";
import { discoveryUrl } from "../../lib/core/issuer.ts";
import { makeLogger } from "../../lib/logger.ts";
import { parseKeySet } from "../../lib/wire/jwks.ts";
import { makeWorld, type World } from "../../lib/world.ts";
import { printable, type Shell, sentenceOf, UsageError } from "../shell.ts";
import { writeJson } from "../stored.ts";

export interface DoctorJwksOptions {
  readonly kubeconfig?: string;
  readonly issuer?: string;
}

/** An issuer, and its keys as it publishes them. */
interface Published {
  readonly issuer: string;
  readonly keys: readonly object[];
}

const REQUEST_MS = 10_000;
const DISCOVERY_PATH = "/.well-known/openid-configuration";
const KEYS_PATH = "/openid/v1/jwks";
/** The API server answers 406 to who asks for plain JSON. */
const KEYS_TYPE = "application/jwk-set+json";

/**
 * Prints the issuer of a cluster's tokens and the public keys that a receiver could verify them
 * with. What is printed can be pinned as it stands.
 */
export async function runDoctorJwks(options: DoctorJwksOptions, shell: Shell): Promise<number> {
  const world = makeWorld(makeLogger("error", { log: shell.stderr, audit: shell.stderr }));
  const published = await publishedBy(options, { shell, world });
  const usable = published.keys.filter((key) => {
    const why = refusalOf(key);
    if (why !== null) shell.stderr.write(`${printable(why)}\n`);
    return why === null;
  });
  if (usable.length === 0) throw new Error("none of the issuer's keys can verify tokens");
  writeJson(shell, { issuer: published.issuer, keys: usable });
  const count = usable.length === 1 ? "1 key" : `${usable.length} keys`;
  const hints = [
    `${count} of ${published.issuer}. In the configuration of the receiver, under auth:`,
    `  serviceAccount: { issuer: ${JSON.stringify(published.issuer)}, audience: "…", subject: ` +
      `"system:serviceaccount:…:…", jwks: "file:PATH" }`,
    isDiscoverable(published.issuer)
      ? "Or jwks: discover, if the receiver can ask the issuer; try --issuer where it runs."
      : "This issuer cannot be asked over the internet; pin the keys.",
    "Pin them again when the cluster's keys change: before it signs with a new one.",
  ];
  shell.stderr.write(`${hints.map(printable).join("\n")}\n`);
  return 0;
}

function publishedBy(
  { kubeconfig, issuer }: DoctorJwksOptions,
  context: { readonly shell: Shell; readonly world: World },
): Promise<Published> {
  if (kubeconfig !== undefined && issuer === undefined) return fromCluster(kubeconfig, context);
  if (kubeconfig === undefined && issuer !== undefined) return fromIssuer(issuer, context.world);
  throw new UsageError(
    "Cannot tell whose keys to print: name the cluster with --kubeconfig, or its issuer with " +
      "--issuer; one of the two",
  );
}

async function fromCluster(
  kubeconfig: string,
  { shell, world }: { readonly shell: Shell; readonly world: World },
): Promise<Published> {
  const { openKube } = await import("../../forwarder/kube.ts");
  const warn = (message: string) => shell.stderr.write(`${printable(message)}\n`);
  const source = { kind: "file", path: resolve(shell.folder, kubeconfig) } as const;
  const kube = openUsable(() => openKube(source, { world, proxy: shell.env, warn }));
  try {
    const request = { signal: shell.signal, timeoutMs: REQUEST_MS };
    const discovery = (await kube.read(DISCOVERY_PATH, request)) as Partial<Published> | null;
    const asKeySet = { ...request, accept: KEYS_TYPE };
    const set = (await kube.read(KEYS_PATH, asKeySet)) as Partial<Published> | null;
    const issuer = discovery?.issuer;
    if (typeof issuer !== "string" || issuer === "") {
      throw new Error("the API server's discovery document names no issuer");
    }
    if (!Array.isArray(set?.keys)) throw new Error("the API server's answer is no key set");
    return { issuer, keys: set.keys };
  } catch (error) {
    throw new Error(
      `${sentenceOf(error)}; ${kube.server} was asked: check that the kubeconfig names a ` +
        `cluster's API server there, and that its credentials may read ${DISCOVERY_PATH} and ` +
        KEYS_PATH,
    );
  } finally {
    kube.close();
  }
}

/** What is wrong with a kubeconfig is wrong with the command line. */
function openUsable<T>(open: () => T): T {
  try {
    return open();
  } catch (error) {
    throw new UsageError(sentenceOf(error));
  }
}

async function fromIssuer(issuer: string, world: World): Promise<Published> {
  let asked = openUsable(() => discoveryUrl(issuer));
  const { fetchIssuerKeys } = await import("../../functions/issuer-keys.ts");
  // Errors leave out URLs, since a receiver's log is read by others; here they are one's own.
  const fetch: World["fetch"] = (input, init) => {
    asked = new URL(input instanceof Request ? input.url : input);
    return world.fetch(input, init);
  };
  try {
    const { keys } = await fetchIssuerKeys(issuer, { ...world, fetch });
    const shown = keys.map(({ id, algorithm, key }) => ({
      ...key.export({ format: "jwk" }),
      use: "sig",
      alg: algorithm,
      ...(id === null ? {} : { kid: id }),
    }));
    return { issuer, keys: shown };
  } catch (error) {
    throw new Error(
      `${sentenceOf(error)}; ${asked.origin}${asked.pathname} was asked: check that this is the ` +
        "issuer of the cluster's tokens, to the letter, and that this machine can reach it; or " +
        "pin the keys, with --kubeconfig",
    );
  }
}

/** Why a receiver would not use it, or null. */
function refusalOf(key: unknown): string | null {
  try {
    parseKeySet(JSON.stringify({ keys: [key] }));
    return null;
  } catch (error) {
    return sentenceOf(error);
  }
}

function isDiscoverable(issuer: string): boolean {
  try {
    return !/\.(svc|local)$/.test(discoveryUrl(issuer).hostname);
  } catch {
    return false;
  }
}
