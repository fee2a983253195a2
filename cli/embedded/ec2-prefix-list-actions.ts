import { Ec2Error } from "./ec2-error.ts";
import type { Ec2PrefixList, Ec2PrefixListEntry, Ec2PrefixLists } from "./ec2-prefix-lists.ts";
import {
  type Awaitable,
  type Ec2Actions,
  element,
  numbered,
  numberedItems,
  numberOf,
} from "./ec2-wire.ts";

/** What answers the calls: the lists themselves, or something between them and the wire. */
export interface Ec2PrefixListBackend {
  describe(
    ids: readonly string[],
    signal: AbortSignal,
  ): Awaitable<ReturnType<Ec2PrefixLists["describe"]>>;
  entries(
    input: Parameters<Ec2PrefixLists["entries"]>[0],
    signal: AbortSignal,
  ): Awaitable<ReturnType<Ec2PrefixLists["entries"]>>;
  modify(
    change: Parameters<Ec2PrefixLists["modify"]>[0],
    signal: AbortSignal,
  ): Awaitable<ReturnType<Ec2PrefixLists["modify"]>>;
}

/** The three operations on prefix lists. */
export function prefixListActions(lists: Ec2PrefixListBackend): Ec2Actions {
  return {
    async DescribeManagedPrefixLists(form, signal) {
      const found = await lists.describe(numbered(form, "PrefixListId"), signal);
      const items = found.map((list) => `<item>${listXml(list)}</item>`);
      return `<prefixListSet>${items.join("")}</prefixListSet>`;
    },
    async GetManagedPrefixListEntries(form, signal) {
      const maxResults = form.get("MaxResults");
      const page = await lists.entries(
        {
          id: idOf(form),
          targetVersion: numberOf(form.get("TargetVersion")),
          maxResults: maxResults === null ? null : Number(maxResults),
          nextToken: form.get("NextToken"),
        },
        signal,
      );
      const items = page.entries.map((entry) => `<item>${entryXml(entry)}</item>`);
      const token = page.nextToken === null ? "" : element("nextToken", page.nextToken);
      return `<entrySet>${items.join("")}</entrySet>${token}`;
    },
    async ModifyManagedPrefixList(form, signal) {
      const change = {
        id: idOf(form),
        currentVersion: numberOf(form.get("CurrentVersion")),
        add: entriesOf(form, "AddEntry"),
        remove: entriesOf(form, "RemoveEntry").map(({ cidr }) => cidr),
        name: form.get("PrefixListName"),
        maxEntries: numberOf(form.get("MaxEntries")),
      };
      return `<prefixList>${listXml(await lists.modify(change, signal))}</prefixList>`;
    },
  };
}

function idOf(form: URLSearchParams): string {
  const id = form.get("PrefixListId");
  if (id) return id;
  throw new Ec2Error("MissingParameter", "The request must contain the parameter PrefixListId.");
}

function entriesOf(form: URLSearchParams, prefix: string): readonly Ec2PrefixListEntry[] {
  if (form.has(prefix)) {
    throw new Ec2Error("InvalidRequest", `The request contains an empty ${prefix}.`);
  }
  return numberedItems(prefix, (item) => {
    const cidr = form.get(`${item}.Cidr`);
    return cidr === null ? null : { cidr, description: form.get(`${item}.Description`) };
  });
}

function listXml(list: Ec2PrefixList): string {
  const own = list.ownerId === "AWS";
  return [
    element("prefixListId", list.id),
    element("addressFamily", list.family),
    element("state", list.state),
    list.state.endsWith("-failed") ? element("stateMessage", "sg-0ff1ce has no room for it") : "",
    element("prefixListArn", `arn:aws:ec2:eu-west-1:${list.ownerId}:prefix-list/${list.id}`),
    element("prefixListName", list.name),
    own ? "" : element("maxEntries", String(list.maxEntries)),
    own ? "" : element("version", String(list.version)),
    element("ipamPrefixListResolverSyncEnabled", String(list.synced)),
    element("ownerId", list.ownerId),
    "<tagSet/>",
  ].join("");
}

function entryXml({ cidr, description }: Ec2PrefixListEntry): string {
  return element("cidr", cidr) + (description === null ? "" : element("description", description));
}
