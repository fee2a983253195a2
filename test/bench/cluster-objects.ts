/*
 * Objects as a kubelet and a cloud's controller write them, as text: a benchmark of what reads them
 * must not wait for what makes them.
 */

/** What is different in each object, and each time it is sent. */
interface Moment {
  readonly index: number;
  readonly version: number;
}

export type Render = (moment: Moment) => string;

const IMAGES = 50;
const MANAGED_PATHS = 42;
/** Of one Node object, as measured in clusters: images are 58 % of it, managedFields 22 %. */
const NODE_BYTES = 15_900;
const POD_BYTES = 8_000;

const NAME = "@name@";
const UID = "@uid@";
const VERSION = "@version@";
const TIME = "@time@";
const ADDRESS = "@address@";

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");

/** Below 10.0.0.0/8; each index has its own. */
function addressOf(index: number): string {
  return `10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`;
}

export function nameOf(prefix: string, index: number): string {
  return `${prefix}-${String(index).padStart(6, "0")}`;
}

/** Of all objects of a run; the nodes are the first. */
function uidOf(number: number): string {
  return `6f0c1d2e-3b4c-4a5b-8c7d-${hex(number, 12)}`;
}

/** Nodes named `node-000000` and so on; every version has other times in its conditions. */
export function nodeRenderer(): Render {
  return rendererOf("node", padded(nodeObject(), NODE_BYTES));
}

/**
 * Pods of one namespace and one set of labels, running, with an address each; `first` is the number
 * of the first of them among all objects.
 */
export function podRenderer(
  namespace: string,
  labels: Readonly<Record<string, string>>,
  first: number,
): Render {
  return rendererOf(`pod-${first}`, padded(podObject(namespace, labels), POD_BYTES), first);
}

function rendererOf(prefix: string, object: object, first = 0): Render {
  const parts = JSON.stringify(object).split(/(@[a-z]+@)/);
  return ({ index, version }) => {
    const time = new Date(1_795_000_000_000 + version * 1_000).toISOString();
    const values: Readonly<Record<string, string>> = {
      [NAME]: nameOf(prefix, index),
      [UID]: uidOf(first + index),
      [VERSION]: String(version),
      [TIME]: `${time.slice(0, 19)}Z`,
      [ADDRESS]: addressOf(first + index + 1),
    };
    return parts.map((part, at) => (at % 2 === 0 ? part : values[part])).join("");
  };
}

/** Of about so many bytes, by an annotation. */
function padded(
  object: { readonly metadata: { readonly annotations: Readonly<Record<string, string>> } },
  bytes: number,
): object {
  const { metadata } = object;
  const missing = Math.max(0, bytes - JSON.stringify(object).length - 40);
  const annotations = { ...metadata.annotations, "example.com/notes": "n".repeat(missing) };
  return { ...object, metadata: { ...metadata, annotations } };
}

function nodeObject() {
  const labels = Object.fromEntries(
    Array.from({ length: 14 }, (_, at) => [`topology.example.com/label-${at}`, `value-${at}`]),
  );
  const sizes = {
    cpu: "16",
    memory: "64842140Ki",
    pods: "110",
    "ephemeral-storage": "101430960Ki",
  };
  const addresses = [
    { type: "InternalIP", address: ADDRESS },
    { type: "Hostname", address: NAME },
    { type: "InternalDNS", address: `${NAME}.eu-west-1.compute.internal` },
  ];
  return {
    kind: "Node",
    apiVersion: "v1",
    metadata: {
      name: NAME,
      uid: UID,
      resourceVersion: VERSION,
      creationTimestamp: "2026-11-20T09:00:00Z",
      labels: { pool: "payments", "kubernetes.io/hostname": NAME, ...labels },
      annotations: { "node.alpha.kubernetes.io/ttl": "0" },
      managedFields: managedFields(),
    },
    spec: { podCIDR: "10.200.0.0/24", podCIDRs: ["10.200.0.0/24"], providerID: `aws:///${NAME}` },
    status: {
      capacity: sizes,
      allocatable: sizes,
      conditions: conditions(),
      addresses,
      daemonEndpoints: { kubeletEndpoint: { Port: 10_250 } },
      nodeInfo: { kernelVersion: "6.12.48", osImage: "Linux", kubeletVersion: "v1.35.1" },
      images: Array.from({ length: IMAGES }, (_, at) => imageOf(at)),
    },
  };
}

function conditions(): readonly object[] {
  const types = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready", "NetworkUnavailable"];
  return types.map((type) => ({
    type,
    status: type === "Ready" ? "True" : "False",
    lastHeartbeatTime: TIME,
    lastTransitionTime: "2026-11-20T09:00:10Z",
    reason: `KubeletHas${type}`,
    message: `kubelet reports ${type} as it was before, within its thresholds`,
  }));
}

function imageOf(at: number): object {
  const name = `registry.example.com/team-${hex(at, 2)}/app`;
  const digest = hex(at + 1, 8).repeat(8);
  return { names: [`${name}@sha256:${digest}`, `${name}:v1.${at}.0`], sizeBytes: 10_000_000 + at };
}

function managedFields(): readonly object[] {
  const fields = Object.fromEntries(
    Array.from({ length: MANAGED_PATHS }, (_, at) => [
      `k:{"type":"condition-${at}"}`,
      { ".": {}, "f:lastHeartbeatTime": {}, "f:message": {} },
    ]),
  );
  return ["kubelet", "cloud-controller-manager"].map((manager, at) => ({
    manager,
    operation: "Update",
    apiVersion: "v1",
    time: TIME,
    fieldsType: "FieldsV1",
    fieldsV1: { "f:status": { "f:conditions": at === 0 ? fields : {} } },
  }));
}

function podObject(namespace: string, labels: Readonly<Record<string, string>>) {
  const env = Array.from({ length: 40 }, (_, at) => ({ name: `SETTING_${at}`, value: `v${at}` }));
  return {
    kind: "Pod",
    apiVersion: "v1",
    metadata: {
      name: NAME,
      namespace,
      uid: UID,
      resourceVersion: VERSION,
      creationTimestamp: "2026-11-20T09:00:00Z",
      labels,
      annotations: {},
      managedFields: managedFields(),
    },
    spec: {
      nodeName: "node-000000",
      containers: [{ name: "app", image: "registry.example.com/app:v1", env }],
    },
    status: { phase: "Running", podIP: ADDRESS, podIPs: [{ ip: ADDRESS }], startTime: TIME },
  };
}
