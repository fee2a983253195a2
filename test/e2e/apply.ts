import { join } from "node:path";
import { type Manifest, manifestsOf } from "../manifests.ts";
import type { KubeApiserver } from "./kube-apiserver.ts";

/** Where objects of a kind live; only the kinds that our manifests have. */
const PLACES: Readonly<Record<string, string>> = {
  Namespace: "namespaces",
  ServiceAccount: "serviceaccounts",
  ClusterRole: "clusterroles",
  ClusterRoleBinding: "clusterrolebindings",
  Role: "roles",
  RoleBinding: "rolebindings",
  NetworkPolicy: "networkpolicies",
  PodDisruptionBudget: "poddisruptionbudgets",
  Deployment: "deployments",
  ValidatingAdmissionPolicy: "validatingadmissionpolicies",
  ValidatingAdmissionPolicyBinding: "validatingadmissionpolicybindings",
};

/** The folder of infra/kustomize with this name. */
export function kustomizeFolder(name: string): string {
  return join(import.meta.dirname, "../../infra/kustomize", name);
}

/** The objects of a folder's manifests; what Kustomize itself reads is none. */
export function objectsOf(folder: string): readonly Manifest[] {
  return manifestsOf(folder).filter(({ kind }) => kind !== "Kustomization" && kind !== "Component");
}

/** Server-side apply as `kubectl apply --server-side` does it, namespaces first. */
export async function apply(kube: KubeApiserver, objects: readonly Manifest[]): Promise<void> {
  const order = Object.keys(PLACES);
  const sorted = objects.toSorted((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));
  for (const object of sorted) {
    const path = `${pathOf(object)}?fieldManager=kustomize&fieldValidation=Strict`;
    await kube.request("PATCH", path, object, { type: "application/apply-patch+yaml" });
  }
}

/** Deletes what {@link apply} made. */
export async function remove(kube: KubeApiserver, objects: readonly Manifest[]): Promise<void> {
  for (const object of objects) await kube.request("DELETE", pathOf(object));
}

function pathOf({ apiVersion, kind, metadata }: Manifest): string {
  const place = PLACES[kind];
  if (place === undefined) throw new Error(`Cannot apply a ${kind}: its place is not known here`);
  const group = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const namespace = metadata.namespace === undefined ? "" : `/namespaces/${metadata.namespace}`;
  return `${group}${namespace}/${place}/${metadata.name}`;
}
