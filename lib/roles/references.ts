import type { Config } from "../config.ts";
import { endpointOf, type FunctionName, secretsOf, subnetsOf, vendorOf, worksOf } from "./needs.ts";

const STORE_VENDORS = { s3: "aws", oss: "alibaba" } as const;

/** Where the functions run: its own credentials are there by themselves. */
export type Platform = "aws" | "alibaba";

/** The platform of functions that keep what they know in this store; null where it tells none. */
export function platformOf({ store }: Pick<Config, "store">): Platform | null {
  return store.kind === "s3" || store.kind === "oss" ? STORE_VENDORS[store.kind] : null;
}

/**
 * What each function reads its secrets from, as references (`env:NAME`, `file:PATH`) in ascending
 * order: those that the configuration names, and the variables that vendors' credentials are taken
 * from where it names none. No function needs another's.
 */
export function referencesOf(
  config: Config,
  platform: Platform,
): Readonly<Record<FunctionName, readonly string[]>> {
  const works = worksOf(config);
  const reaching = (vendor: string, settings: object) => {
    const isOwn = vendor === platform;
    const secrets = secretsOf(vendor, settings).filter((one) => !isOwn || isNamed(one, settings));
    return [...secrets, ...referenceIn(endpointOf(settings))];
  };
  const targetsOf = (name: FunctionName) =>
    works
      .filter((work) => work.function === name)
      .flatMap(({ target }) => reaching(vendorOf(target), target.settings));
  const subnets = subnetsOf(config).flatMap(({ vendor, settings }) => reaching(vendor, settings));
  const store = storeOf(config, reaching);
  return {
    webhook: sorted([...sendersOf(config), ...targetsOf("webhook"), ...store]),
    resync: sorted([...targetsOf("resync"), ...subnets, ...store]),
    read: sorted([...readersOf(config), ...store]),
  };
}

/** Whether the settings themselves name it, so that the platform's own are not meant. */
function isNamed(reference: string, settings: object): boolean {
  return JSON.stringify(settings).includes(JSON.stringify(reference));
}

function referenceIn(text: string | null): readonly string[] {
  return text !== null && /^(env|file):/.test(text) ? [text] : [];
}

function storeOf(
  { store }: Config,
  reaching: (vendor: string, settings: object) => readonly string[],
): readonly string[] {
  if (store.kind !== "s3" && store.kind !== "oss") return [];
  return reaching(STORE_VENDORS[store.kind], store);
}

/** Who may deliver. */
function sendersOf({ auth }: Config): readonly string[] {
  return Object.values(auth).flatMap(({ signature, serviceAccount }) => {
    const pinned = serviceAccount?.keys;
    return [
      ...(signature?.keys ?? []),
      ...(pinned?.kind === "reference" ? [pinned.reference] : []),
    ];
  });
}

/** Who may read lists and the status. */
function readersOf({ lists, statusTokens }: Config): readonly string[] {
  const feeds = lists.flatMap(({ targets }) =>
    targets.flatMap(({ kind, settings }) => (kind === "feed" ? tokensIn(settings) : [])),
  );
  return [...statusTokens, ...feeds];
}

function tokensIn({ tokens }: Readonly<Record<string, unknown>>): readonly string[] {
  return Array.isArray(tokens) ? tokens.filter((token) => typeof token === "string") : [];
}

function sorted(references: readonly string[]): readonly string[] {
  return [...new Set(references)].toSorted();
}
