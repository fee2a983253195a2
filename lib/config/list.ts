import * as z from "zod/mini";
import { aggregate } from "../core/aggregate.ts";
import { prefixLengthOf } from "../core/cidr.ts";
import type { List, Removal, Source, TargetConfig } from "../core/list.ts";
import type { Owner } from "../core/marker.ts";
import type { Kind } from "../targets/kind.ts";
import { type Path, type Reader, unknownMessage } from "./problems.ts";
import { isRecord, itemsOf, recordOf } from "./raw.ts";
import { listShape, nameShape } from "./shape.ts";
import { parseSource } from "./source.ts";

/** What parsing needs of the kinds of targets. */
export type Kinds = Readonly<Record<string, Pick<Kind, "schema" | "identify" | "traits">>>;

const GRACE_DEFAULT_MS = 5 * 60_000;
const MAX_RATIO_DEFAULT = 0.3;
const MIN_REMAINING_DEFAULT = 1;

// Sources and targets are parsed one by one below, so that one bad part hides no other.
const LIST_SHAPE = listShape(z.unknown(), z.unknown());

export interface ListContext {
  readonly installation: string;
  readonly reader: Reader;
  readonly kinds: Kinds;
  readonly clusters: readonly string[];
}

export interface ParsedList {
  readonly name: string;
  readonly list: List | null;
  /** All that could be parsed, also of a list that could not; with their positions. */
  readonly targets: readonly { readonly index: number; readonly target: TargetConfig }[];
  readonly formerly: readonly unknown[];
}

/** One list of the file; whatever is wrong with it is added to the reader. */
export function parseList(name: string, raw: unknown, context: ListContext): ParsedList {
  const { reader } = context;
  const at = ["lists", name];
  reader.check(nameShape, name, at);
  const parsed = reader.check(LIST_SHAPE, raw, at);
  const { from, targets: rawTargets, formerly } = recordOf(raw);
  const sources = itemsOf(from).map((source, index) =>
    parseSource(source, [...at, "from", index], context),
  );
  refuseEverything(sources, [...at, "from"], reader);
  const owner = { installation: context.installation, list: name, formerly: namesOf(formerly) };
  const targets = itemsOf(rawTargets).flatMap((target, index) => {
    const found = parseTarget(target, [...at, "targets", index], { ...context, owner });
    return found === null ? [] : [{ index, target: found }];
  });
  const rest = { name, targets, formerly: itemsOf(formerly) };
  if (parsed === null) return { ...rest, list: null };
  const list: List = {
    name,
    sources: sources.filter((source) => source !== null),
    removal: removalOf(parsed.removal),
    targets: targets.map(({ target }) => target),
    gate: parsed.gate ?? true,
    formerly: parsed.formerly ?? [],
  };
  return { ...rest, list };
}

function removalOf(parsed: z.output<typeof LIST_SHAPE>["removal"]): Removal {
  const acceptAfter = parsed.acceptAfter ?? "never";
  return {
    policy: parsed.policy,
    graceMs: parsed.grace ?? GRACE_DEFAULT_MS,
    maxRatio: parsed.maxRatio ?? MAX_RATIO_DEFAULT,
    minRemaining: parsed.minRemaining ?? MIN_REMAINING_DEFAULT,
    acceptAfterMs: acceptAfter === "never" ? null : acceptAfter,
  };
}

// Two halves make a whole: 0.0.0.0/1 and 128.0.0.0/1 are what neither may be alone.
function refuseEverything(sources: readonly (Source | null)[], at: Path, reader: Reader): void {
  const cidrs = sources.flatMap((source) => (source?.kind === "static" ? source.cidrs : []));
  const whole = aggregate(cidrs).find((cidr) => prefixLengthOf(cidr) === 0);
  if (whole === undefined) return;
  const message =
    `Cannot use these static addresses: together they are ${whole}, which no list may ` +
    "hold; name the networks";
  reader.add(at, message);
}

function namesOf(formerly: unknown): readonly string[] {
  return itemsOf(formerly).filter((name) => typeof name === "string");
}

function parseTarget(
  raw: unknown,
  at: Path,
  { reader, kinds, owner }: ListContext & { readonly owner: Owner },
): TargetConfig | null {
  if (!isRecord(raw)) {
    reader.check(z.record(z.string(), z.unknown()), raw, at);
    return null;
  }
  const { kind: name, ...rest } = raw;
  const kind = typeof name === "string" && Object.hasOwn(kinds, name) ? kinds[name] : undefined;
  if (typeof name !== "string" || kind === undefined) {
    reader.add(
      [...at, "kind"],
      unknownMessage("kind of target", name, Object.keys(kinds).toSorted()),
    );
    return null;
  }
  if (kind.traits(rest).marking === "none" && rest.exclusive !== true) {
    const message =
      `Cannot share a target of kind "${name}": its entries carry no marker, so everything ` +
      "on it would be ours; write exclusive: true and list people's own addresses under " +
      "static";
    reader.add([...at, "exclusive"], message);
  }
  const settings = reader.check(kind.schema, rest, at);
  if (!isRecord(settings)) return null;
  const limit = settings.limit;
  return {
    kind: name,
    ...kind.identify(settings, owner),
    owner,
    exclusive: settings.exclusive === true,
    limit: typeof limit === "number" ? limit : null,
    settings,
  };
}

/** A slot belongs to one list: two would each remove what the other adds. */
export function refuseSharedSlots(
  lists: readonly ParsedList[],
  { kinds, reader }: { readonly kinds: Kinds; readonly reader: Reader },
): void {
  const first = new Map<string, string>();
  for (const list of lists) {
    for (const { index, target } of list.targets) {
      const other = first.get(target.name);
      if (other === undefined) {
        first.set(target.name, list.name);
        continue;
      }
      const message =
        other === list.name
          ? `Cannot name target "${target.name}" twice in list "${other}": leave one out`
          : `Cannot keep lists "${other}" and "${list.name}" on one target ` +
            `"${target.name}": ${partingOf(kinds[target.kind])}`;
      reader.add(["lists", list.name, "targets", index], message);
    }
  }
}

/** How two lists get a slot each: only some objects have several. */
function partingOf(kind: Kinds[string] | undefined): string {
  const settings = kind?.schema instanceof z.ZodMiniObject ? kind.schema.shape : {};
  const parting = ["permission", "group"].find((setting) => Object.hasOwn(settings, setting));
  if (parting !== undefined) return `give one of them another ${parting}`;
  return "take it out of one of the lists, or merge them";
}

/** An entry has one owner: no former name may be a list of today, or claimed by two. */
export function refuseSharedNames(lists: readonly ParsedList[], reader: Reader): void {
  const names = new Set(lists.map((list) => list.name));
  const first = new Map<unknown, string>();
  for (const list of lists) {
    for (const [index, former] of list.formerly.entries()) {
      const at = ["lists", list.name, "formerly", index];
      const quoted = JSON.stringify(former);
      const other = first.get(former);
      first.set(former, list.name);
      if (typeof former === "string" && names.has(former)) {
        reader.add(at, `Cannot claim the entries of ${quoted}: it is a list of this file`);
      } else if (other !== undefined) {
        reader.add(at, `Cannot claim the entries of ${quoted} twice: list "${other}" does already`);
      }
    }
  }
}
