/*
 * The little XML that object storage answers with: elements, text, the five named entities and
 * character references. Whatever else a document may hold makes it unreadable, which for a store
 * is a failure like any other: a DOCTYPE, a comment or CDATA would only be there if somebody else
 * had answered.
 */

export interface XmlElement {
  readonly name: string;
  readonly children: readonly XmlElement[];
  /** Of an element without children; "" of any other. */
  readonly text: string;
}

const DEPTH_MAX = 20;

// One token at a time, each from where the last one ended. Names of elements are ASCII at both
// vendors. An attribute's value may hold no quote of its own kind and no "<".
const PROLOG = /<\?xml\s[^<>?]*\?>\s*/y;
const OPEN =
  /<([A-Za-z][A-Za-z0-9_.-]*)(?:\s+[A-Za-z_:][\w:.-]*\s*=\s*(?:"[^"<]*"|'[^'<]*'))*\s*(\/?)>/y;
const CLOSE = /<\/([A-Za-z][A-Za-z0-9_.-]*)\s*>/y;
const TEXT = /[^<]*/y;
const REFERENCE = /&(?:(amp|lt|gt|quot|apos)|#(\d{1,7})|#x([0-9a-fA-F]{1,6}));/g;
const NAMED: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
};

/** The document's element; null when any of it cannot be read. Attributes are left out. */
export function parseXml(document: string): XmlElement | null {
  const reader = createReader(document.trimEnd().replace(/^\ufeff/, ""));
  reader.take(PROLOG);
  const root = readElement(reader, 0);
  return root !== null && reader.isAtEnd() ? root : null;
}

/** The text of the only child of that name; null when there is none, or another element within. */
export function textOf(parent: XmlElement, name: string): string | null {
  const [child, another] = childrenOf(parent, name);
  return child === undefined || another !== undefined || child.children.length > 0
    ? null
    : child.text;
}

export function childrenOf(parent: XmlElement, name: string): readonly XmlElement[] {
  return parent.children.filter((child) => child.name === name);
}

interface TokenReader {
  take(token: RegExp): RegExpExecArray | null;
  isAtEnd(): boolean;
}

function createReader(document: string): TokenReader {
  let at = 0;
  return {
    take(token) {
      token.lastIndex = at;
      const found = token.exec(document);
      if (found !== null) at += found[0].length;
      return found;
    },
    isAtEnd: () => at === document.length,
  };
}

function readElement(reader: TokenReader, depth: number): XmlElement | null {
  const open = depth < DEPTH_MAX ? reader.take(OPEN) : null;
  const name = open?.[1];
  if (name === undefined) return null;
  if (open?.[2] === "/") return { name, children: [], text: "" };
  const children: XmlElement[] = [];
  let text = "";
  for (;;) {
    text += reader.take(TEXT)?.[0] ?? "";
    const close = reader.take(CLOSE);
    if (close !== null) {
      const own = close[1] === name ? decode(text) : null;
      // Text beside elements is the indentation of people, or not for us.
      if (own === null || (children.length > 0 && own.trim() !== "")) return null;
      return { name, children, text: children.length > 0 ? "" : own };
    }
    const child = readElement(reader, depth + 1);
    if (child === null) return null;
    children.push(child);
  }
}

/** Null when an "&" begins no reference that is known, or one to no character. */
function decode(text: string): string | null {
  if (text.replaceAll(REFERENCE, "").includes("&")) return null;
  let isWhole = true;
  const decoded = text.replaceAll(REFERENCE, (_, named, decimal, hex) => {
    if (named !== undefined) return NAMED[named] ?? "";
    const code = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal);
    if (code <= 0x10_ffff) return String.fromCodePoint(code);
    isWhole = false;
    return "";
  });
  return isWhole ? decoded : null;
}
