import {
  type Document,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  visit,
} from "yaml";
import { type ConfigReading, parseConfig } from "../config.ts";
import type { Problem } from "../core/snapshot.ts";
import { type Path, pathText } from "./problems.ts";

/*
 * The only file of `lib` that knows YAML: functions get JSON and do without the parser.
 */

const CONFIG_CHARACTERS_MAX = 1_000_000;
const ALIASES_MAX = 100;

/**
 * {@link parseConfig} for a file that people write; each message ends with its line and column.
 * JSON is YAML too.
 */
export function parseYamlConfig(text: string): ConfigReading {
  if (text.length > CONFIG_CHARACTERS_MAX) {
    const message =
      `Cannot read configuration: ${text.length} characters; at most ` + `${CONFIG_CHARACTERS_MAX}`;
    return { kind: "invalid", problems: [{ path: "", message }] };
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const broken = [...document.errors, ...document.warnings].map((error) => ({
    path: "",
    message: `Cannot read YAML: ${error.message}${positionText(lines, error.pos[0])}`,
  }));
  if (broken.length > 0) return { kind: "invalid", problems: broken };
  const star = findStar(document);
  if (star !== null) {
    const message = `Cannot read YAML: ${star.message}${positionText(lines, star.offset)}`;
    return { kind: "invalid", problems: [{ path: "", message }] };
  }
  const value = toValue(document);
  if (value.kind === "invalid") return value;
  const reading = parseConfig(value.value);
  if (reading.kind === "parsed") return reading;
  const positions = positionsOf(document.contents);
  const problems = reading.problems.map(({ path, message }) => {
    const offset = nearestOffset(path, positions);
    return { path, message: message + (offset === null ? "" : positionText(lines, offset)) };
  });
  return { kind: "invalid", problems };
}

type Value =
  | { readonly kind: "value"; readonly value: unknown }
  | { readonly kind: "invalid"; readonly problems: readonly Problem[] };

/** An unquoted `*.example.com` is, to YAML, a reference to something that was given this name. */
function findStar(document: Document) {
  const named = new Set<string>();
  const stars: { readonly message: string; readonly offset: number }[] = [];
  visit(document, {
    Value(_key, { anchor }) {
      if (anchor !== undefined) named.add(anchor);
    },
    Alias(_key, { source, range }) {
      if (named.has(source)) return;
      const message = `nothing was named &${source}; put names that begin with * in quotes`;
      stars.push({ message, offset: range?.[0] ?? 0 });
    },
  });
  return stars[0] ?? null;
}

function toValue(document: Document): Value {
  try {
    return { kind: "value", value: document.toJS({ maxAliasCount: ALIASES_MAX }) };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { kind: "invalid", problems: [{ path: "", message: `Cannot read YAML: ${reason}` }] };
  }
}

function positionText(lines: LineCounter, offset: number): string {
  const { line, col } = lines.linePos(offset);
  return ` (line ${line}, column ${col})`;
}

// Of every value of the file by its path; a mapping's member stands where its key does.
function positionsOf(root: unknown): ReadonlyMap<string, number> {
  const positions = new Map<string, number>();
  const visit = (node: unknown, path: Path, offset: number | undefined) => {
    if (offset !== undefined) positions.set(pathText(path), offset);
    if (isMap(node)) {
      for (const { key, value } of node.items) {
        if (isScalar(key)) visit(value, [...path, String(key.value)], key.range?.[0]);
      }
    } else if (isSeq(node)) {
      for (const [index, item] of node.items.entries()) {
        visit(item, [...path, index], isNode(item) ? item.range?.[0] : undefined);
      }
    }
  };
  visit(root, [], undefined);
  return positions;
}

// What is missing has no place of its own: it is missing where its parent stands.
function nearestOffset(path: string, positions: ReadonlyMap<string, number>): number | null {
  for (let text = path; text !== ""; text = parentOf(text)) {
    const offset = positions.get(text);
    if (offset !== undefined) return offset;
  }
  return null;
}

function parentOf(path: string): string {
  const cut = Math.max(path.lastIndexOf("."), path.lastIndexOf("["));
  return cut <= 0 ? "" : path.slice(0, cut);
}
