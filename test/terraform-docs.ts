import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Of a module's README: what stands between these is rendered from its files. */
const BEGIN = "<!-- begin: inputs and outputs -->\n";
const END = "<!-- end: inputs and outputs -->\n";

/** A module's README as its variables and outputs have it now. */
export function renderModuleReadme(folder: string): string {
  const readme = readFileSync(join(folder, "README.md"), "utf8");
  const [before, after] = [readme.indexOf(BEGIN), readme.indexOf(END)];
  if (before < 0 || after < before) throw new Error(`Cannot find the marks in ${folder}/README.md`);
  const tables = `${inputs(folder)}\n${outputs(folder)}`;
  return readme.slice(0, before) + BEGIN + tables + readme.slice(after);
}

function inputs(folder: string): string {
  const rows = blocksOf(folder, "variables.tf", "variable").map(({ name, body }) => {
    const type = attributeOf(body, "type")?.replace(/\s+/g, " ") ?? "any";
    const preset = attributeOf(body, "default");
    const otherwise = preset === null ? "required" : code(preset);
    return `| \`${name}\` | ${descriptionOf(body)} | ${code(type)} | ${otherwise} |\n`;
  });
  return `| input | | type | default |\n|---|---|---|---|\n${rows.join("")}`;
}

function outputs(folder: string): string {
  const rows = blocksOf(folder, "outputs.tf", "output").map(
    ({ name, body }) => `| \`${name}\` | ${descriptionOf(body)} |\n`,
  );
  return `| output | |\n|---|---|\n${rows.join("")}`;
}

interface Block {
  readonly name: string;
  readonly body: string;
}

/** Blocks as `terraform fmt` leaves them: each ends with a brace at the beginning of a line. */
function blocksOf(folder: string, file: string, kind: string): readonly Block[] {
  const text = readFileSync(join(folder, file), "utf8");
  const block = new RegExp(`^${kind} "([a-z_]+)" \\{\\n([\\s\\S]*?)^\\}$`, "gm");
  return [...text.matchAll(block)].map(([, name = "", body = ""]) => ({ name, body }));
}

/** The text of an attribute of the block itself, over several lines where it has them. */
function attributeOf(body: string, name: string): string | null {
  const found = new RegExp(`^  ${name} += (.*(?:\\n {4,}.*)*(?:\\n  [}\\])]+)?)`, "m").exec(body);
  return found?.[1] ?? null;
}

function descriptionOf(body: string): string {
  return JSON.parse(attributeOf(body, "description") ?? '""');
}

function code(text: string): string {
  return `\`${text}\``;
}
