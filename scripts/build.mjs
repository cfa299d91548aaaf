// Builds what is asked for: cpu (node-gyp, build/), cuda (cmake-js, build-cuda/), native (plain CMake, build-native/), ts (tsc, dist/;
// then viewer), viewer (what runs in the browser, bundled by esbuild into dist/viewer/).
// `--if-missing` skips targets that are newer than their sources. A lock keeps two builds of one checkout apart.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const jobs = String(Math.max(1, availableParallelism()));
const flags = process.argv.slice(2);
const ifMissing = flags.includes('--if-missing');
const targets = flags.filter((flag) => !flag.startsWith('--'));

function run(command, args, hint) {
  const done = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], env: process.env });
  if (done.error?.code === 'ENOENT') fail(`${command} was not found. ${hint ?? ''}`);
  if (done.status !== 0) fail(`${command} ${args.join(' ')} failed. ${hint ?? ''}`);
}

function fail(message) {
  console.error(`build: ${message}`);
  process.exitCode = 1;
  throw new Error(message);
}

/** Newest modification time below a folder or of a file. */
function newest(path) {
  const info = statSync(path);
  if (!info.isDirectory()) return info.mtimeMs;
  return Math.max(0, ...readdirSync(path).map((name) => newest(join(path, name))));
}

function upToDate(output, inputs) {
  if (!existsSync(join(root, output))) return false;
  const built = statSync(join(root, output)).mtimeMs;
  // An installed package lacks what only building needs.
  return inputs.every((input) => !existsSync(join(root, input)) || newest(join(root, input)) <= built);
}

/** Node's own headers, when they lie beside the running binary: then node-gyp downloads nothing. */
function nodeDir() {
  const prefix = dirname(dirname(process.execPath));
  return existsSync(join(prefix, 'include/node/node_api.h')) ? [`--nodedir=${prefix}`] : [];
}

const builds = {
  cpu: {
    output: 'build/Release/rl3dedit.node',
    inputs: ['native', 'binding.gyp'],
    build() {
      const gyp = join(root, 'node_modules/node-gyp/bin/node-gyp.js');
      const ready = existsSync(join(root, 'build/Makefile')) && newest(join(root, 'build/Makefile')) >
        Math.max(newest(join(root, 'native/sources.gypi')), newest(join(root, 'binding.gyp')));
      if (!ready) run(process.execPath, [gyp, 'configure', '--loglevel=warn', ...nodeDir()], 'node-gyp needs python3 and make.');
      run(process.execPath, [gyp, 'build', '--loglevel=warn', '-j', jobs, ...nodeDir()], 'It needs g++ (C++20) and make.');
    },
  },
  cuda: {
    output: 'build-cuda/Release/rl3dedit.node',
    inputs: ['native', 'CMakeLists.txt'],
    build() {
      const cmakeJs = join(root, 'node_modules/cmake-js/bin/cmake-js');
      const arch = process.env.RL3DEDIT_CUDA_ARCHITECTURES;
      run(process.execPath, [cmakeJs, 'build', '-O', 'build-cuda', '--CDRL_WITH_CUDA=ON',
        ...(arch ? [`--CDCMAKE_CUDA_ARCHITECTURES=${arch}`] : [])], 'The CUDA build needs cmake and nvcc (CUDA >= 12.4).');
    },
  },
  native: {
    output: 'build-native/native_tests.stamp',
    inputs: ['native', 'test/native', 'bench/kernels', 'CMakeLists.txt'],
    build() {
      run('cmake', ['-S', '.', '-B', 'build-native', '-DCMAKE_BUILD_TYPE=Release'], 'The native tests need cmake.');
      run('cmake', ['--build', 'build-native', '-j', jobs]);
    },
  },
  ts: {
    output: 'dist/.tsbuildinfo',
    inputs: ['src', 'tsconfig.json'],
    also: ['viewer'],
    async build() {
      run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.json']);
      // The compiler leaves the file alone when no output changed, which would make it look older than the sources.
      utimesSync(join(root, 'dist/.tsbuildinfo'), new Date(), new Date());
      if (!isBuilt(builds.viewer)) await builds.viewer.build();
    },
  },
  viewer: {
    output: 'dist/viewer/viewer.js',
    inputs: ['src/viewer', 'src/report/viewer-data.ts', 'scripts/build.mjs', 'node_modules/three/package.json',
      'node_modules/@sparkjsdev/spark/package.json'],
    build: bundleViewer,
  },
};

/** Two scripts that stand alone in a page: no imports, no requests, and nothing that would end an inline script early. */
async function bundleViewer() {
  const { build } = await import('esbuild');
  const packages = ['three', '@sparkjsdev/spark', 'fflate'];
  const notices = packages.map((name) => {
    const folder = join(root, 'node_modules', name);
    const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    return `${name} ${version}\n\n${readFileSync(join(folder, 'LICENSE'), 'utf8').trim()}`;
  });
  await build({
    absWorkingDir: root,
    entryPoints: ['src/viewer/page.ts', 'src/viewer/viewer.ts'],
    outdir: 'dist/viewer',
    tsconfig: 'src/viewer/tsconfig.json',
    bundle: true,
    minify: true,
    format: 'iife',
    platform: 'browser',
    target: 'es2022',
    legalComments: 'eof',
    logLevel: 'warning',
  });
  // Bundles that come out as they were are not written again.
  utimesSync(join(root, 'dist/viewer/viewer.js'), new Date(), new Date());
  writeFileSync(join(root, 'dist/viewer/LICENSES.txt'), `${notices.join('\n\n---\n\n')}\n`);
}

function isBuilt({ output, inputs, also = [] }) {
  return upToDate(output, inputs) && also.every((name) => isBuilt(builds[name]));
}

const lock = join(root, 'node_modules/.rl3dedit-build.lock');
function acquire() {
  for (;;) {
    try {
      mkdirSync(lock);
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      if (Date.now() - statSync(lock).mtimeMs > 20 * 60_000) rmSync(lock, { recursive: true, force: true });
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
    }
  }
}

acquire();
try {
  for (const name of targets.length ? targets : ['cpu', 'ts']) {
    const target = builds[name];
    if (!target) fail(`unknown target '${name}', expected ${Object.keys(builds).join(', ')}`);
    if (ifMissing && isBuilt(target)) continue;
    await target.build();
  }
} catch (error) {
  if (!process.exitCode) throw error;
} finally {
  rmSync(lock, { recursive: true, force: true });
}
