import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Family } from "../../lib/core/cidr.ts";
import { Ec2Error, type Ec2Groups, type Ec2Permission, type Ec2Rule } from "./ec2-groups.ts";

/** What answers the calls: the groups themselves, or something between them and the wire. */
export interface Ec2Backend {
  describe(
    input: Parameters<Ec2Groups["describe"]>[0],
    signal: AbortSignal,
  ): Awaitable<ReturnType<Ec2Groups["describe"]>>;
  authorize(
    input: Parameters<Ec2Groups["authorize"]>[0],
    signal: AbortSignal,
  ): Awaitable<ReturnType<Ec2Groups["authorize"]>>;
  revoke(
    input: Parameters<Ec2Groups["revoke"]>[0],
    signal: AbortSignal,
  ): Awaitable<ReturnType<Ec2Groups["revoke"]>>;
}

type Awaitable<T> = T | Promise<T>;

export interface EmbeddedEc2<G extends Ec2Backend> {
  /** An endpoint for any client of the EC2 API; believes any credentials. */
  readonly url: string;
  /** As handed in: what the endpoint writes to. */
  readonly groups: G;
  /** Cuts what is open and resolves when nothing of it is left. */
  close(): Promise<void>;
}

const BODY_BYTES_MAX = 1_048_576;
const INDEX_MAX = 1_000;
const OWNER = "000000000000";

/**
 * As much of the EC2 Query API as the product calls, over HTTP on this machine: form in, XML out,
 * as in the EC2 API reference. For demonstrations and tests; it knows no accounts and no regions.
 */
export async function startEmbeddedEc2<G extends Ec2Backend>(options: {
  readonly groups: G;
  readonly host?: string;
  readonly port?: number;
}): Promise<EmbeddedEc2<G>> {
  const { host = "127.0.0.1", port = 0 } = options;
  let requests = 0;
  const server = createServer((request, response) => {
    requests += 1;
    const requestId = `embedded-${requests}`;
    answer(request, response, { groups: options.groups, requestId }).catch(() =>
      request.socket.destroy(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
  const { port: bound } = server.address() as AddressInfo;
  const shown = host.includes(":") ? `[${host}]` : host;
  const url = `http://${shown}:${bound}`;
  return { url, groups: options.groups, close: () => closeServer(server) };
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: { readonly groups: Ec2Backend; readonly requestId: string },
): Promise<void> {
  const { requestId } = options;
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  try {
    const form = new URLSearchParams(await readBody(request));
    const xml = await act(form, { ...options, signal: gone.signal });
    response.writeHead(200, { "content-type": "text/xml;charset=UTF-8" }).end(xml);
  } catch (error) {
    const refusal = error instanceof Ec2Error ? error : internal();
    if (refusal.status === null) {
      request.socket.destroy();
      return;
    }
    const { retryAfterS } = refusal;
    response
      .writeHead(refusal.status, {
        "content-type": "text/xml;charset=UTF-8",
        ...(retryAfterS === null ? {} : { "retry-after": String(retryAfterS) }),
      })
      .end(errorXml(refusal, requestId));
  }
}

function internal(): Ec2Error {
  return new Ec2Error("InternalError", "An internal error has occurred", { status: 500 });
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) {
      throw new Ec2Error("RequestEntityTooLarge", "Request entity is too large", { status: 413 });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

async function act(
  form: URLSearchParams,
  options: {
    readonly groups: Ec2Backend;
    readonly requestId: string;
    readonly signal: AbortSignal;
  },
): Promise<string> {
  const { groups, requestId, signal } = options;
  const action = form.get("Action") ?? "";
  switch (action) {
    case "DescribeSecurityGroupRules": {
      const maxResults = form.get("MaxResults");
      const page = await groups.describe(
        {
          groupIds: groupFilter(form),
          maxResults: maxResults === null ? null : Number(maxResults),
          nextToken: form.get("NextToken"),
        },
        signal,
      );
      const token = page.nextToken === null ? "" : element("nextToken", page.nextToken);
      return envelope(action, requestId, ruleSet("securityGroupRuleSet", page.rules) + token);
    }
    case "AuthorizeSecurityGroupIngress": {
      const permissions = permissionsOf(form);
      const added = await groups.authorize({ groupId: groupOf(form), permissions }, signal);
      const done = element("return", "true");
      return envelope(action, requestId, done + ruleSet("securityGroupRuleSet", added));
    }
    case "RevokeSecurityGroupIngress": {
      const { revoked, unknown } = await groups.revoke(
        {
          groupId: groupOf(form),
          permissions: permissionsOf(form),
          ruleIds: numbered(form, "SecurityGroupRuleId"),
        },
        signal,
      );
      const done = element("return", "true") + unknownSet(unknown);
      return envelope(action, requestId, done + ruleSet("revokedSecurityGroupRuleSet", revoked));
    }
    default:
      throw new Ec2Error(
        "InvalidAction",
        `The action ${action} is not valid for this web service.`,
      );
  }
}

/** The values of `<prefix>.1`, `<prefix>.2` and so on, up to the first that is missing. */
function numbered(form: URLSearchParams, prefix: string): readonly string[] {
  const values: string[] = [];
  for (let index = 1; index <= INDEX_MAX; index += 1) {
    const value = form.get(`${prefix}.${index}`);
    if (value === null) break;
    values.push(value);
  }
  return values;
}

function groupOf(form: URLSearchParams): string {
  const groupId = form.get("GroupId");
  if (groupId) return groupId;
  throw new Ec2Error("MissingParameter", "The request must contain the parameter groupId.");
}

/** Without a filter EC2 shows the rules of all groups; nothing here asks for that. */
function groupFilter(form: URLSearchParams): readonly string[] {
  const name = form.get("Filter.1.Name");
  if (name === "group-id" && form.get("Filter.2.Name") === null) {
    return numbered(form, "Filter.1.Value");
  }
  throw new Ec2Error("InvalidParameterValue", "The one filter that is known here is group-id.");
}

function permissionsOf(form: URLSearchParams): readonly Ec2Permission[] {
  const permissions: Ec2Permission[] = [];
  for (let index = 1; index <= INDEX_MAX; index += 1) {
    const prefix = `IpPermissions.${index}`;
    const protocol = form.get(`${prefix}.IpProtocol`);
    if (protocol === null) break;
    permissions.push({
      protocol,
      fromPort: numberOf(form.get(`${prefix}.FromPort`)),
      toPort: numberOf(form.get(`${prefix}.ToPort`)),
      ranges: [
        ...rangesOf(form, `${prefix}.IpRanges`, { family: "ipv4", member: "CidrIp" }),
        ...rangesOf(form, `${prefix}.Ipv6Ranges`, { family: "ipv6", member: "CidrIpv6" }),
      ],
    });
  }
  return permissions;
}

function rangesOf(
  form: URLSearchParams,
  prefix: string,
  options: { readonly family: Family; readonly member: string },
): Ec2Permission["ranges"] {
  const ranges: Ec2Permission["ranges"][number][] = [];
  for (let index = 1; index <= INDEX_MAX; index += 1) {
    const cidr = form.get(`${prefix}.${index}.${options.member}`);
    if (cidr === null) break;
    const description = form.get(`${prefix}.${index}.Description`);
    ranges.push({ family: options.family, cidr, description });
  }
  return ranges;
}

function numberOf(text: string | null): number | null {
  return text === null || !/^-?\d{1,9}$/.test(text) ? null : Number(text);
}

function envelope(action: string, requestId: string, content: string): string {
  const body = element("requestId", requestId) + content;
  return `<?xml version="1.0" encoding="UTF-8"?>
<${action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">${body}</${action}Response>`;
}

function errorXml(error: Ec2Error, requestId: string): string {
  const detail = element("Code", error.code) + element("Message", error.message);
  return `<?xml version="1.0" encoding="UTF-8"?>
<Response><Errors><Error>${detail}</Error></Errors>${element("RequestID", requestId)}</Response>`;
}

function ruleSet(name: string, rules: readonly Ec2Rule[]): string {
  return `<${name}>${rules.map((rule) => `<item>${ruleXml(rule)}</item>`).join("")}</${name}>`;
}

function ruleXml(rule: Ec2Rule): string {
  const { kind, text } = rule.source;
  const source = {
    ipv4: () => element("cidrIpv4", text),
    ipv6: () => element("cidrIpv6", text),
    "prefix-list": () => element("prefixListId", text),
    group: () => `<referencedGroupInfo>${element("groupId", text)}</referencedGroupInfo>`,
  }[kind]();
  return [
    element("securityGroupRuleId", rule.id),
    element("groupId", rule.groupId),
    element("groupOwnerId", OWNER),
    element("isEgress", String(rule.egress)),
    element("ipProtocol", rule.protocol),
    element("fromPort", String(rule.fromPort)),
    element("toPort", String(rule.toPort)),
    source,
    rule.description === null ? "" : element("description", rule.description),
    "<tagSet/>",
  ].join("");
}

function unknownSet(unknown: readonly Ec2Permission[]): string {
  const items = unknown.map(({ protocol, ranges }) => {
    const members = (family: Family, member: string) =>
      ranges
        .filter((range) => range.family === family)
        .map(({ cidr }) => `<item>${element(member, cidr)}</item>`)
        .join("");
    const ipv4 = `<ipRanges>${members("ipv4", "cidrIp")}</ipRanges>`;
    const ipv6 = `<ipv6Ranges>${members("ipv6", "cidrIpv6")}</ipv6Ranges>`;
    return `<item>${element("ipProtocol", protocol)}${ipv4}${ipv6}</item>`;
  });
  return `<unknownIpPermissionSet>${items.join("")}</unknownIpPermissionSet>`;
}

const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
};

function element(name: string, text: string): string {
  return `<${name}>${text.replace(/[&<>"]/g, (character) => ESCAPES[character] ?? "")}</${name}>`;
}
