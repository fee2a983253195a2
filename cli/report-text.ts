import type { ListReport, Refusal } from "../lib/core/report.ts";
import type { ClusterStatus, SourceStatus, Status } from "../lib/survey.ts";
import { type Paint, TONE_OF_STATE } from "./paint.ts";
import { printable } from "./shell.ts";

/** What the signs in front of entries mean depends on who asks. */
export interface Wording {
  readonly add: string;
  readonly remove: string;
  /** Targets whose additions wait, where it is known. */
  readonly waiting?: readonly string[];
}

/** Clusters, sources and lists for people; nothing is left out. Ends with a line break. */
export function renderStatus(
  status: Status,
  options: { readonly paint: Paint; readonly wording: Wording },
): string {
  const { paint } = options;
  const at = Date.parse(status.at);
  const clusters = status.clusters.map((cluster) => `  ${clusterLine(cluster, at, paint)}`);
  const sources = status.sources.map((source) => `  ${sourceLine(source, at, paint)}`);
  const blocks = status.lists.map((report) => renderReport(report, options).join("\n"));
  const head = `${paint("strong", `installation ${status.installation}`)} at ${status.at}`;
  return `${[[head, ...clusters, ...sources].join("\n"), ...blocks].join("\n\n")}\n`;
}

function clusterLine(cluster: ClusterStatus, at: number, paint: Paint): string {
  const name = `cluster ${printable(cluster.cluster)}`;
  if (cluster.retired) return `${name}: retired, it counts as heard without nodes`;
  if (cluster.heardAt === null || cluster.generation === null) {
    return `${name}: ${paint("bad", "never heard")}; look at the forwarder there`;
  }
  const heard = `heard ${ageText(at - Date.parse(cluster.heardAt))} ago`;
  const { epoch, sequence } = cluster.generation;
  const freshness = cluster.fresh ? paint("good", heard) : paint("bad", `${heard}, stale`);
  const nodes = countText(cluster.nodes, "node");
  // Most forwarders look at none.
  const pods = cluster.pods === 0 ? "" : `, ${countText(cluster.pods, "pod")}`;
  return `${name}: ${nodes}${pods}, ${freshness}, generation ${epoch}/${sequence}`;
}

/** Networks by name where they are few, as those of a subnet are. */
const CIDRS_SHOWN_MAX = 4;

function sourceLine(source: SourceStatus, at: number, paint: Paint): string {
  const { cidrs, free, readAt, fresh, message } = source;
  const name = `source ${printable(source.source)}`;
  const why = message === null ? "" : `. ${printable(message)}`;
  if (readAt === null) return `${name}: ${paint("bad", "never read")}${why || NEVER_ASKED}`;
  const read = `read ${ageText(at - Date.parse(readAt))} ago`;
  const state = fresh ? read : `${read}, stale`;
  const parts = [
    cidrs.length > CIDRS_SHOWN_MAX
      ? countText(cidrs.length, "network")
      : cidrs.map(printable).join(", "),
    ...(free === null ? [] : [`${countText(free, "address", "addresses")} free`]),
    paint(fresh && message === null ? "good" : "bad", state),
  ];
  return `${name}: ${parts.join(", ")}${why}`;
}

const NEVER_ASKED = "; a resync asks it";

/** The lines of one list on one target. */
function renderReport(
  report: ListReport,
  options: { readonly paint: Paint; readonly wording: Wording },
): readonly string[] {
  const { paint, wording } = options;
  const reason = report.reason === null ? "" : `, ${report.reason}`;
  const state = paint(TONE_OF_STATE[report.state], `${report.state}${reason}`);
  const list = paint("strong", printable(report.list));
  const title = `${list} on ${printable(report.target)}: ${state}`;
  const cidrs = [...report.add, ...report.remove, ...report.leaving.map(({ cidr }) => cidr)];
  const column = Math.max(0, ...cidrs.map((cidr) => cidr.length)) + 2;
  const entry = (sign: string, cidr: string, text: string) =>
    `  ${sign} ${printable(cidr).padEnd(column)}${text}`;
  return [
    title,
    `  ${printable(report.message)}`,
    `  ${paint("faint", countsText(report))}`,
    ...report.add.map((cidr) => entry("+", cidr, addText(report, wording))),
    ...report.remove.map((cidr) => entry("-", cidr, removeText(report, wording))),
    ...report.leaving.map(({ cidr, until }) => entry("~", cidr, `leaves after ${until}`)),
    ...report.refused.map((refusal) => `  ! ${refusalText(refusal)}`),
  ];
}

function addText({ target, reason }: ListReport, { add, waiting = [] }: Wording): string {
  return waiting.includes(target) ? `withheld: ${reason}` : add;
}

function removeText(report: ListReport, wording: Wording): string {
  return report.state === "withheld" ? `withheld: ${report.reason}` : wording.remove;
}

function countsText(report: ListReport): string {
  const { desired, owned, borrowed, foreign, orphaned, capacity } = report;
  const counts = { desired, owned, borrowed, foreign, orphaned };
  const parts = Object.entries(counts).map(([name, count]) => `${count} ${name}`);
  if (capacity !== null) parts.push(`${capacity.used} of ${capacity.limit} used`);
  const isRead = Date.parse(report.checkedAt) > 0;
  return [...parts, isRead ? `read at ${report.checkedAt}` : "never looked at"].join(" · ");
}

function refusalText({ address, node, cluster, reason }: Refusal): string {
  const of = cluster === null ? "" : ` of cluster ${cluster}`;
  const whose = node === null ? "" : ` (${node}${of})`;
  return printable(`${address}${whose} refused: ${reason}`);
}

export function countText(count: number, noun: string, plural = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : plural}`;
}

function ageText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
