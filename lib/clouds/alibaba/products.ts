/*
 * The products of Alibaba Cloud that are called by RPC: names, versions and where they answer.
 * Sources: the API references and the endpoint pages of the products. Those give every region a
 * name of one form; the central names of the oldest regions (`rds.aliyuncs.com`) lead to the same
 * place. Where a region has neither, a target's `endpoint` says so.
 */

export interface Product {
  /** As it stands before the colon of a RAM action, but for r-kvstore, which is kvstore there. */
  readonly code: "alb" | "dds" | "ecs" | "polardb" | "r-kvstore" | "rds" | "slb" | "sts" | "vpc";
  readonly version: string;
  /** The public endpoint of a region, with its scheme. */
  endpoint(region: string): string;
}

export const ALB: Product = product("alb", "2020-06-16");
export const DDS: Product = product("dds", "2015-12-01", "mongodb");
export const ECS: Product = product("ecs", "2014-05-26");
export const POLARDB: Product = product("polardb", "2017-08-01");
export const R_KVSTORE: Product = product("r-kvstore", "2015-01-01");
export const RDS: Product = product("rds", "2014-08-15");
export const SLB: Product = product("slb", "2014-05-15");
export const STS: Product = product("sts", "2015-04-01");
export const VPC: Product = product("vpc", "2016-04-28");

function product(code: Product["code"], version: string, host: string = code): Product {
  return { code, version, endpoint: (region) => `https://${host}.${region}.aliyuncs.com` };
}
