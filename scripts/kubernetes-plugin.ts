import type { Plugin } from "esbuild";

const REFUSING = "refusing";

// By these names the client knows what is left out; another one fails the build.
const REFUSALS = `
const refuse = () => {
  throw new Error("Cannot call the API by the Kubernetes client: only its kubeconfig is bundled");
};
export { refuse as Agent, refuse as ProxyAgent };
export { refuse as createConfiguration, refuse as of, refuse as ServerConfiguration };
`;

/**
 * Bundles of the Kubernetes client its KubeConfig alone: which cluster there is, and TLS, proxies
 * and credentials for requests that others send; nothing else of it can be imported. What the
 * KubeConfig would hand out besides, the generated API and undici's dispatchers, throws a sentence
 * when it is called: that is three quarters of what loading the client takes, in bytes and in time.
 */
export function kubernetesPlugin(): Plugin {
  return {
    name: "kubernetes",
    setup(build) {
      build.onResolve({ filter: /^@kubernetes\/client-node$/ }, ({ path, kind, resolveDir }) =>
        build.resolve(`${path}/dist/config.js`, { kind, resolveDir }),
      );
      build.onResolve({ filter: /^(undici|\.\/gen\/.*)$/ }, ({ path, importer }) => {
        if (!/[\\/]@kubernetes[\\/]client-node[\\/]/.test(importer)) return undefined;
        return { path, namespace: REFUSING };
      });
      build.onLoad({ filter: /./, namespace: REFUSING }, () => ({ contents: REFUSALS }));
    },
  };
}
