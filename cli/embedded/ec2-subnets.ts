import { Ec2Error } from "./ec2-error.ts";
import { type Ec2Actions, element, numbered } from "./ec2-wire.ts";

/** A subnet as EC2 shows it. */
export interface Ec2Subnet {
  readonly id: string;
  /** Null for a subnet of IPv6 alone. */
  readonly cidr: string | null;
  readonly ipv6?: readonly { readonly cidr: string; readonly state: string }[];
  /** Addresses of `cidr` that nobody has yet. */
  readonly free?: number;
}

/** DescribeSubnets, by id. The array is read at every call: it may be changed. */
export function subnetActions(subnets: readonly Ec2Subnet[]): Ec2Actions {
  return {
    DescribeSubnets(form) {
      const ids = numbered(form, "SubnetId");
      const items = ids.map((id) => {
        const subnet = subnets.find((one) => one.id === id);
        if (subnet !== undefined) return `<item>${subnetXml(subnet)}</item>`;
        const message = `The subnet ID '${id}' does not exist`;
        throw new Ec2Error("InvalidSubnetID.NotFound", message);
      });
      return `<subnetSet>${items.join("")}</subnetSet>`;
    },
  };
}

function subnetXml({ id, cidr, ipv6 = [], free = 0 }: Ec2Subnet): string {
  const blocks = ipv6.map((block) => {
    const state = `<ipv6CidrBlockState>${element("state", block.state)}</ipv6CidrBlockState>`;
    return `<item>${element("ipv6CidrBlock", block.cidr)}${state}</item>`;
  });
  return [
    element("subnetId", id),
    element("state", "available"),
    cidr === null ? "" : element("cidrBlock", cidr),
    element("availableIpAddressCount", String(cidr === null ? 0 : free)),
    `<ipv6CidrBlockAssociationSet>${blocks.join("")}</ipv6CidrBlockAssociationSet>`,
    element("ipv6Native", String(cidr === null)),
  ].join("");
}
