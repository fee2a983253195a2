import { CloudError } from "../error.ts";
import {
  ACL_WRITE_MS_MAX,
  type Acl,
  type AclClient,
  type AclEntry,
  withinReadTime,
} from "./acl.ts";
import { optionalTextIn, rowsAt, textIn, unreadable, valueAt } from "./answer.ts";
import { alibabaErrorOf } from "./errors.ts";
import { type Kinds, withKinds } from "./kinds.ts";
import { ALB } from "./products.ts";
import {
  type AlibabaConnection,
  type AlibabaContext,
  openRpc,
  type Params,
  type Rpc,
} from "./rpc.ts";

// Source: the error table of alb 2020-06-16.
const KINDS: Kinds = {
  // How an entry that is there already is refused is written nowhere: another read tells.
  "Conflict.": "conflict",
  "DuplicatedParam.": "conflict",
  "ResourceAlreadyExist.": "conflict",

  "QuotaExceeded.": "full",
  "ResourceInConfiguring.": "busy",
};

const READ = "ListAclEntries";
const OPERATION = `alb:${READ}`;
const PAGE_ENTRIES_MAX = 100;
// Far beyond the 1,000 entries that an ACL may have.
const PAGES_MAX = 40;
const LOOK_EVERY_MS = 1_000;

const STATES: Readonly<Record<string, AclEntry["state"]>> = {
  Adding: "arriving",
  Available: "there",
  Removing: "leaving",
};

interface Errand {
  readonly id: string;
  readonly signal: AbortSignal;
}

/** ACLs of Application Load Balancer. Connects to nothing yet. */
export function albAclClient(connection: AlibabaConnection, context: AlibabaContext): AclClient {
  const rpc = withKinds(openRpc(connection, context), KINDS);
  const { world } = context;
  const read = (id: string, signal: AbortSignal) =>
    withinReadTime(context, { operation: OPERATION, signal }, (inner) =>
      readPages(rpc, { id, signal: inner }),
    );
  const write = async (action: string, params: Params, { id, signal }: Errand) => {
    const until = world.now() + ACL_WRITE_MS_MAX;
    await rpc.call({ product: ALB, action, params, timeoutMs: ACL_WRITE_MS_MAX }, signal);
    await untilSettled(rpc, { id, signal, until, world });
  };
  return {
    read,
    add: (id, entries, signal) => {
      const AclEntries = entries.map(({ cidr, text }) => ({ Entry: cidr, Description: text }));
      return write("AddEntriesToAcl", { AclId: id, AclEntries }, { id, signal });
    },
    remove: (id, entries, signal) => {
      const Entries = entries.map(({ cidr }) => cidr);
      return write("RemoveEntriesFromAcl", { AclId: id, Entries }, { id, signal });
    },
  };
}

interface Page {
  readonly entries: readonly AclEntry[];
  readonly total: number | null;
  readonly next: string;
}

async function readPage(
  rpc: Rpc,
  { id, signal }: Errand,
  options: { readonly token: string; readonly timeoutMs?: number },
): Promise<Page> {
  const { token, ...limits } = options;
  const params = {
    AclId: id,
    MaxResults: PAGE_ENTRIES_MAX,
    NextToken: token === "" ? undefined : token,
  };
  const answer = await rpc.call({ product: ALB, action: READ, params, ...limits }, signal);
  const total = valueAt(answer, ["TotalCount"]);
  const rows = total === 0 ? [] : rowsAt(answer, ["AclEntries"], OPERATION);
  return {
    entries: rows.map(entryOf),
    total: typeof total === "number" ? total : null,
    next: optionalTextIn(answer, "NextToken", OPERATION),
  };
}

async function readPages(rpc: Rpc, errand: Errand): Promise<Acl> {
  const entries: AclEntry[] = [];
  const totals = new Set<number | null>();
  let token = "";
  for (let count = 0; count < PAGES_MAX; count += 1) {
    const page = await readPage(rpc, errand, { token });
    entries.push(...page.entries);
    totals.add(page.total);
    token = page.next;
    if (token !== "") continue;
    // Pages hold no version: where the numbers disagree something was written meanwhile.
    const different = new Set(entries.map(({ address }) => address)).size;
    if (different < entries.length || totals.size > 1) break;
    if ((page.total ?? different) !== different) break;
    return { family: null, denying: 0, entries };
  }
  throw unreadable(OPERATION);
}

function entryOf(row: Readonly<Record<string, unknown>>): AclEntry {
  const status = textIn(row, "Status", OPERATION);
  const state = Object.hasOwn(STATES, status) ? STATES[status] : undefined;
  if (state === undefined) throw unreadable(OPERATION);
  return {
    address: textIn(row, "Entry", OPERATION),
    text: optionalTextIn(row, "Description", OPERATION),
    state,
  };
}

/**
 * Waits until nothing is on its way to or from the list. Returns when the time is over, or when it
 * cannot be read: the write was taken.
 */
async function untilSettled(
  rpc: Rpc,
  options: Errand & { readonly until: number; readonly world: AlibabaContext["world"] },
): Promise<void> {
  const { until, world, signal } = options;
  try {
    let token = "";
    for (let left = until - world.now(); left > 0; left = until - world.now()) {
      const page = await readPage(rpc, options, { token, timeoutMs: left });
      if (page.entries.some(({ state }) => state !== "there")) {
        token = "";
        await world.sleep(Math.max(0, Math.min(LOOK_EVERY_MS, until - world.now())), signal);
      } else if (page.next === "") return;
      else token = page.next;
    }
  } catch (thrown) {
    if (signal.aborted) throw alibabaErrorOf(thrown, { operation: OPERATION, now: world.now() });
    if (!(thrown instanceof CloudError)) throw thrown;
  }
}
