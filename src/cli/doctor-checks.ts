import * as fs from 'node:fs/promises';
import * as os from 'node:os';
import * as path from 'node:path';
import type { LoadedBinding } from '../binding/load';
import { hubCache, hubEndpoint, hubToken, isOffline } from '../hub/cache';
import { formatBytes } from './ui/format';
import { packageVersion } from './version';

/**
 * One line of the report. `bad` stops work and comes with the next step; `note` is a fact or a lack one can live
 * with.
 */
export interface Check {
  name: string;
  status: 'ok' | 'note' | 'bad';
  value: string;
  next?: string;
}

export interface DoctorReport {
  ok: boolean;
  version: string;
  checks: Check[];
}

const buildHint = 'build the add-on with: npm run build (needs g++, make and python3)';

/** Looks at the machine and never throws: what fails becomes a `bad` line. */
export async function examine(): Promise<DoctorReport> {
  const checks: Check[] = [...system(), ...(await disk())];
  // eslint-disable-next-line @typescript-eslint/no-require-imports -- its failure is a line of the report
  const { loadBinding } = require('../binding/load') as typeof import('../binding/load');
  let loaded: LoadedBinding | undefined;
  try {
    loaded = loadBinding();
  } catch (error) {
    checks.push({
      name: 'add-on',
      status: 'bad',
      value: (error as Error).message.split('\n').join('\n      '),
      next: buildHint,
    });
  }
  if (loaded) {
    checks.push(...addOn(loaded));
    checks.push(await selfTest());
  }
  return { ok: checks.every((check) => check.status !== 'bad'), version: packageVersion(), checks };
}

function system(): Check[] {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const recent = major > 20 || (major === 20 && minor >= 19);
  const cpus = os.cpus();
  const memory = `${formatBytes(os.totalmem())}, ${formatBytes(os.freemem())} free`;
  return [
    { name: 'rl3dedit', status: 'ok', value: packageVersion() },
    {
      name: 'system',
      status: process.platform === 'linux' ? 'ok' : 'note',
      value: `${os.type()} ${os.release()} ${os.arch()}`,
      next: process.platform === 'linux' ? undefined : 'only Linux is tested',
    },
    {
      name: 'Node',
      status: recent ? 'ok' : 'bad',
      value: `${process.versions.node}, Node-API ${process.versions.napi ?? '?'}`,
      next: recent ? undefined : 'install Node 20.19 or newer',
    },
    {
      name: 'CPU',
      status: 'ok',
      value: `${cpus[0]?.model.trim() ?? 'unknown'}, ${os.availableParallelism()} of ${cpus.length} cores usable`,
    },
    {
      name: 'memory',
      status: os.freemem() < 1e9 ? 'note' : 'ok',
      value: memory,
      next: os.freemem() < 1e9 ? 'close other programs: the tiny networks want 1 GB' : undefined,
    },
  ];
}

async function disk(): Promise<Check[]> {
  const cache = hubCache();
  const token = (await hubToken()) !== undefined;
  const checks: Check[] = [];
  for (const [name, folder] of [
    ['disk here', process.cwd()],
    ['weights cache', cache],
  ] as const) {
    const stat = await fs.statfs(await nearestFolder(folder)).catch(() => undefined);
    const free = stat ? stat.bavail * stat.bsize : 0;
    const low = free < 1e9;
    checks.push({
      name,
      status: low ? 'note' : 'ok',
      value: `${folder}, ${formatBytes(free)} free`,
      next: low ? 'free some space (an edit needs little, FLUX weights 34 GB)' : undefined,
    });
  }
  checks.push({
    name: 'Hugging Face',
    status: token ? 'ok' : 'note',
    value: `token ${token ? 'present' : 'absent'}, ${isOffline() ? 'offline (HF_HUB_OFFLINE)' : hubEndpoint()}`,
    next: token ? undefined : 'only for gated weights: set HF_TOKEN (the tiny networks are shipped)',
  });
  return checks;
}

async function nearestFolder(folder: string): Promise<string> {
  let current = path.resolve(folder);
  while (
    !(await fs.stat(current).then(
      () => true,
      () => false,
    )) &&
    path.dirname(current) !== current
  )
    current = path.dirname(current);
  return current;
}

function addOn({ binding, path: file, attempts }: LoadedBinding): Check[] {
  const info = binding.buildInfo();
  const passedOver = attempts.filter((attempt) => attempt.error !== undefined);
  const checks: Check[] = [
    { name: 'add-on', status: 'ok', value: `${file} (built by ${info.compiler}, Node-API ${info.napiVersion})` },
    ...passedOver.map((attempt): Check => ({
      name: 'not used',
      status: 'note',
      value: `${attempt.path}: ${attempt.error}`,
    })),
    { name: 'SIMD', status: 'ok', value: info.cpuFeatures || `scalar only, ${info.threads} threads` },
  ];
  if (!info.cuda) {
    checks.push({
      name: 'GPU',
      status: 'note',
      value: 'none: this build has no CUDA',
      next: 'with an NVIDIA GPU: npm run build:cuda (needs cmake and nvcc 12.4 or newer)',
    });
  } else if (info.cudaUnavailable) {
    checks.push({
      name: 'GPU',
      status: 'note',
      value: `none: ${info.cudaUnavailable}`,
      next: 'install or update the NVIDIA driver, or work on the CPU',
    });
  } else {
    const devices = info.cudaDevices ?? [];
    devices.forEach((device, index) => checks.push({ name: `GPU cuda:${index}`, status: 'ok', value: device }));
    if (devices.length === 0)
      checks.push({ name: 'GPU', status: 'ok', value: `${info.cudaDeviceCount ?? 0} CUDA devices` });
    checks.push({
      name: 'CUDA',
      status: 'ok',
      value: `runtime ${info.cudaRuntime ?? '?'}, built for ${info.cudaArchitectures ?? '?'}`,
    });
  }
  return checks;
}

/** A matrix product with odd sizes against float64 on the host. */
async function selfTest(): Promise<Check> {
  const [rows, inner, columns] = [67, 129, 35];
  // Fixed numbers in [-1, 1) from a linear congruential generator: the test needs no library and is the same
  // everywhere.
  let state = 1;
  const draw = (): number => (state = (state * 1103515245 + 12345) % 2147483648) / 1073741824 - 1;
  const a = Float32Array.from({ length: rows * inner }, draw);
  const b = Float32Array.from({ length: inner * columns }, draw);
  try {
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- its failure is a line of the report
    const { Device } = require('../tensor/device') as typeof import('../tensor/device');
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- its failure is a line of the report
    const { matmul } = require('../tensor/ops') as typeof import('../tensor/ops');
    using device = Device.open('cpu');
    using left = device.tensor(a, [rows, inner]);
    using right = device.tensor(b, [inner, columns]);
    using product = matmul(left, right);
    const startMs = performance.now();
    const result = await product.toFloat32();
    const elapsedMs = performance.now() - startMs;
    const worst = worstRelativeError(result, a, b, [rows, inner, columns]);
    const good = worst < 1e-5;
    return {
      name: 'self test',
      status: good ? 'ok' : 'bad',
      value: `GEMM ${rows}×${inner}×${columns}, worst error ${worst.toExponential(1)}, ${elapsedMs.toFixed(1)} ms`,
      next: good ? undefined : 'please report this with the output of rl3dedit doctor --json',
    };
  } catch (error) {
    return { name: 'self test', status: 'bad', value: (error as Error).message.split('\n')[0], next: buildHint };
  }
}

function worstRelativeError(
  result: Float32Array,
  a: Float32Array,
  b: Float32Array,
  [rows, inner, columns]: number[],
): number {
  let worst = 0;
  let largest = 1e-6;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      let sum = 0;
      for (let k = 0; k < inner; k++) sum += a[i * inner + k] * b[k * columns + j];
      const difference = Math.abs(result[i * columns + j] - sum);
      if (!(difference <= worst)) worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
      largest = Math.max(largest, Math.abs(sum));
    }
  }
  return worst / largest;
}
