import type { Family } from "../core/cidr.ts";
import { parseAddress } from "../core/cidr.ts";
import { type DnsName, outsideName } from "../core/outside.ts";
import type { SourceOutcome } from "../core/reading.ts";

/** A question to the name servers that was not answered. */
export class NameError extends Error {
  override readonly name = "NameError";
  /** As Node's resolver writes it: `ENOTFOUND`, `ESERVFAIL`, `ETIMEOUT` … */
  readonly code: string;

  constructor(code: string) {
    super(`the name servers answered ${code}`);
    this.code = code;
  }
}

/**
 * Asks the name servers for A or AAAA records, aliases followed. Empty: the name exists, and has no
 * such record. Rejects with NameError; one attempt, honours its signal.
 */
export interface NameClient {
  resolve(name: string, family: Family, signal: AbortSignal): Promise<readonly string[]>;
}

const NOT_FOUND = "ENOTFOUND";

/**
 * The addresses of a name, in one attempt. Good only when every family that was asked for was
 * answered, with at least one address among them; what was learnt otherwise is kept.
 */
export async function readName(
  source: DnsName,
  client: NameClient,
  signal: AbortSignal,
): Promise<SourceOutcome> {
  const answers = await Promise.all(
    source.families.map(async (family) => {
      try {
        return { texts: await client.resolve(source.name, family, signal), code: null };
      } catch (thrown) {
        if (!(thrown instanceof NameError)) throw thrown;
        return { texts: [], code: signal.aborted ? "ETIMEOUT" : thrown.code };
      }
    }),
  );
  const texts = answers.flatMap((answer) => answer.texts);
  const parsed = texts.map(parseAddress);
  const cidrs = parsed.filter((cidr) => cidr !== null);
  const code = answers.find((answer) => answer.code !== null)?.code ?? null;
  const trouble = code === null ? null : troubleText(code, cidrs.length);
  const why = trouble ?? (cidrs.length < parsed.length ? "an answer is no address" : null);
  const doing = `Cannot read ${outsideName(source)}`;
  if (why !== null) return { kind: "failed", cidrs, message: `${doing}: ${why}` };
  if (cidrs.length > 0) return { kind: "read", cidrs, free: null };
  const message = `${doing}: it has no address; correct the name, or take it out of "from"`;
  return { kind: "failed", cidrs, message };
}

function troubleText(code: string, learnt: number): string {
  if (learnt > 0) {
    const wayOut = "it is tried again, or write the family that it has";
    return `only one family was answered, the other ended in ${code}; ${wayOut}`;
  }
  if (code === NOT_FOUND) return 'there is no such name; correct it, or take it out of "from"';
  return `the question ended in ${code}; it is tried again`;
}
