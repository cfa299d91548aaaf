/** Where a measurement was taken: without it a time means nothing. */
import { readFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { resolve } from 'node:path';
import type { BenchEnvironment } from '../../report/bench-report';
import type { Device } from '../../tensor/device';

export const packageRoot = resolve(__dirname, '..', '..', '..');

export function benchEnvironment(device: Device): BenchEnvironment {
  const info = device.binding.buildInfo();
  const { version } = JSON.parse(readFileSync(resolve(packageRoot, 'package.json'), 'utf8')) as { version: string };
  const card = Number(device.name.split(':')[1] ?? 0);
  const onCard = device.kind === 'cuda';
  return {
    date: new Date().toISOString(),
    device: device.name,
    deviceName: (onCard ? info.cudaDevices?.[card] : cpus()[0]?.model)?.trim() || device.name,
    threads: info.threads,
    isa: onCard ? `CUDA ${info.cudaRuntime ?? 'unknown'}` : (/using (\w+)/.exec(info.cpuFeatures)?.[1] ?? info.cpuFeatures),
    versions: { rl3dedit: version, node: process.versions.node, compiler: info.compiler, kernel: release() },
  };
}

/** Where the baseline of a device is kept: `bench/baselines/<name in plain letters>.json`. */
export function baselinePath({ deviceName }: BenchEnvironment): string {
  const name = deviceName.toLowerCase().replace(/\(r\)|\(tm\)/g, '').replace(/[^a-z0-9]+/g, '-').replace(/^-+|-+$/g, '');
  return resolve(packageRoot, 'bench', 'baselines', `${name || 'unknown'}.json`);
}
