import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { AlibabaBetween, AlibabaCall } from "../../cli/embedded/alibaba.ts";
import type { AlibabaValue } from "../../cli/embedded/alibaba-form.ts";

/*
 * Alibaba Cloud's own descriptions of its actions: names, types and what must be there. They know
 * no values and no answers.
 */

interface Parameter {
  readonly name: string;
  readonly type: string;
  readonly required: boolean;
  readonly sub_parameters?: readonly Parameter[];
}

export interface AlibabaSpecs {
  /** What contradicts the descriptions, a sentence each; empty where all is well. */
  check(call: AlibabaCall): readonly string[];
}

/** Why requests cannot be checked, or null where they can. */
export const noSpecs = specFolder() === null ? "KUBE_ALLOWLIST_SPECS is not set" : null;

function specFolder(): string | null {
  const folder = process.env.KUBE_ALLOWLIST_SPECS;
  return folder ? join(folder, "aliyun") : null;
}

/** The descriptions, or null where there are none. */
export function alibabaSpecs(): AlibabaSpecs | null {
  const folder = specFolder();
  if (folder === null) return null;
  const products = JSON.parse(readFileSync(join(folder, "products.json"), "utf8")) as readonly {
    readonly code: string;
    readonly version: string;
  }[];
  const codes = new Map(products.map(({ code, version }) => [version, code.toLowerCase()]));
  return {
    check({ version, action, params }) {
      const path = join(folder, codes.get(version) ?? version, `${action}.json`);
      if (!existsSync(path)) return [`${version} ${action} is not described`];
      const { parameters } = JSON.parse(readFileSync(path, "utf8")) as {
        readonly parameters: readonly Parameter[];
      };
      return membersOf(params, parameters, action);
    },
  };
}

/**
 * Lets every call pass and keeps what contradicts the descriptions; nothing where there are none.
 */
export function watchSpecs(between: AlibabaBetween, except: readonly string[] = []) {
  const specs = alibabaSpecs();
  const problems: string[] = [];
  const watched: AlibabaBetween = (call, act, signal) => {
    if (!except.includes(call.action)) problems.push(...(specs?.check(call) ?? []));
    return between(call, act, signal);
  };
  return { between: watched, problems };
}

function membersOf(
  given: Readonly<Record<string, AlibabaValue>>,
  known: readonly Parameter[],
  where: string,
): readonly string[] {
  const byName = new Map(known.map((parameter) => [parameter.name, parameter]));
  const missing = known
    .filter(({ name, required }) => required && !Object.hasOwn(given, name))
    .map(({ name }) => `${where}.${name} is missing`);
  const wrong = Object.entries(given).flatMap(([name, value]) => {
    const parameter = byName.get(name);
    const at = `${where}.${name}`;
    return parameter === undefined ? [`${at} is unknown`] : valueProblems(value, parameter, at);
  });
  return [...missing, ...wrong];
}

const TEXTS: Readonly<Record<string, RegExp>> = {
  String: /^/,
  Integer: /^-?\d+$/,
  Long: /^-?\d+$/,
  Boolean: /^(true|false)$/,
};

function valueProblems(value: AlibabaValue, parameter: Parameter, at: string): readonly string[] {
  const { type, sub_parameters: members } = parameter;
  const text = TEXTS[type];
  if (text !== undefined) {
    return typeof value === "string" && text.test(value) ? [] : [`${at} is no ${type}`];
  }
  if (type !== "RepeatList" && type !== "Array") return [`${at} has the strange type ${type}`];
  if (!Array.isArray(value)) return [`${at} is no ${type}`];
  return value.flatMap((item: AlibabaValue, index): readonly string[] => {
    const place = `${at}.${index + 1}`;
    // Of some lists it is not said what they hold.
    if (members === undefined) return type === "Array" || typeof item === "string" ? [] : [place];
    if (typeof item !== "object" || Array.isArray(item)) return [`${place} has no members`];
    return membersOf(item as Readonly<Record<string, AlibabaValue>>, members, place);
  });
}
