/**
 * An editor: FLUX transformer, autoencoder, text encoders and, where there is one, a verifier, found by `--model` and
 * loaded network by network, so that never more is resident than the work at hand needs.
 */
import { AbortError, ConfigError } from '../binding/errors';
import type { ShiftLine } from '../flow';
import { fluxShift } from '../flow';
import { FluxTransformer, inferFluxConfig, openFluxCheckpoint, parseFluxConfig } from '../models/flux';
import type { FluxConfig } from '../models/flux';
import { linears } from '../models/lora';
import { loadLora } from '../models/lora-file';
import { AutoencoderKL } from '../models/vae/autoencoder';
import { BflVaeWeights, inferVaeConfig } from '../models/vae/checkpoint';
import { downscale, fluxVae } from '../models/vae/config';
import type { VaeConfig } from '../models/vae/config';
import type { Device } from '../tensor/device';
import { SafetensorsWeights } from '../tensor/safetensors';
import type { Tensor } from '../tensor/tensor';
import { Weights } from '../tensor/weights';
import { findModel } from './model/files';
import type { ExtraFiles, ModelFiles } from './model/files';
import { parseVaeConfig } from './model/network-configs';
import { parseRandomPreset, randomModel, randomPresets } from './model/random';
import { editSigmas, parseEditorSettings, parseShiftLine } from './model/settings';
import type { EditorSettings } from './model/settings';
import { networkSource, parameterBytes } from './model/source';
import type { NetworkSource } from './model/source';
import { TextEncoders } from './model/text';
import { openVerifier } from './model/verifier';
import type { Verifier } from './model/verifier';

export type { EditorSettings } from './model/settings';
export type { Verifier, VerifierReading } from './model/verifier';

export interface EditorOptions extends ExtraFiles {
  /** Type of weights and activations; the device's default when absent. */
  dtype?: 'f32' | 'bf16';
  signal?: AbortSignal;
  /** LoRA file put on the transformer. */
  lora?: string;
  /** Strength of the LoRA. */
  loraScale?: number;
  /** Seed of a `random:` model. */
  seed?: number;
}

/** What the transformer reads of an instruction. The tensors belong to the caller. */
export interface EncodedPrompt {
  /** [1, T, joint_attention_dim] */
  hiddenStates: Tensor;
  /** [1, pooled_projection_dim] */
  pooled: Tensor;
}

/** Bytes of a network's parameters on the device; unknown for random weights until they are drawn. */
export interface MemoryNeed {
  network: 'text encoders' | 'autoencoder' | 'transformer' | 'verifier';
  bytes?: number;
}

export class Editor implements Disposable {
  readonly config: FluxConfig;
  readonly vaeConfig: VaeConfig;
  readonly settings: EditorSettings;
  /** What is resident at each time, in the order of use: each is freed when its work is done. */
  readonly memoryPlan: readonly MemoryNeed[];
  readonly hasVerifier: boolean;
  private readonly shiftLine: ShiftLine;
  private readonly transformerSource: NetworkSource;
  private readonly vaeSource: NetworkSource;
  private loadedTransformer: { model: FluxTransformer; free: () => void } | undefined;
  private loadedVae: AutoencoderKL | undefined;
  private loadedVerifier: Verifier | undefined;

  constructor(
    readonly device: Device,
    readonly dtype: 'f32' | 'bf16',
    private readonly files: ModelFiles,
    private readonly text: TextEncoders,
    private readonly options: EditorOptions,
  ) {
    const opened: NetworkSource[] = [];
    const open = (network: { weights?: string; where: string }): NetworkSource => {
      const source = networkSource(device, network, { dtype, seed: options.seed ?? 0 });
      opened.push(source);
      return source;
    };
    try {
      this.transformerSource = open(files.transformer);
      this.vaeSource = open(files.vae);
      const { weights, config, where } = files.transformer;
      const checkpoint = weights === undefined ? undefined : openFluxCheckpoint(this.transformerSource);
      if (config === undefined && !checkpoint) throw new ConfigError(`${where}: random weights need a config`);
      this.config = config === undefined ? inferFluxConfig(checkpoint!) : parseFluxConfig(config, where);
      const settings = parseEditorSettings(config ?? {}, where);
      const trained = settings.timestep_shift === undefined && checkpoint ? checkpoint.layout : 'none';
      this.settings = { ...settings, timestep_rounding: settings.timestep_rounding ?? trained };
      this.shiftLine = files.scheduler ? parseShiftLine(files.scheduler.json, files.scheduler.where) : fluxShift;
      this.vaeConfig = readVaeConfig(files, this.vaeSource);
      this.hasVerifier = files.verifier !== undefined;
      this.memoryPlan = [
        { network: 'text encoders', bytes: text.bytes },
        { network: 'autoencoder', bytes: parameterBytes(this.vaeSource, dtype) },
        { network: 'transformer', bytes: parameterBytes(this.transformerSource, dtype) },
        ...(this.hasVerifier ? [{ network: 'verifier' as const }] : []),
      ];
      this.check();
    } catch (error) {
      for (const source of opened) source.dispose();
      throw error;
    }
  }

  get name(): string {
    return this.files.name;
  }

  /** Pixels along one side of an image token: the autoencoder's factor times the 2×2 packing. */
  get tokenPx(): number {
    return 2 * downscale(this.vaeConfig);
  }

  /** `steps` + 1 noise levels for a number of target tokens. */
  sigmas(steps: number, targetTokens: number): number[] {
    return editSigmas(steps, targetTokens, this.settings, this.shiftLine);
  }

  /** Loads the text encoders, runs them, and frees them. */
  encodePrompt(text: string): EncodedPrompt {
    return this.text.encode(text);
  }

  /** The autoencoder, loaded at first use. */
  vae(): AutoencoderKL {
    if (this.loadedVae) return this.loadedVae;
    const source = this.vaeSource;
    const singleFile = source.has('decoder.mid.block_1.norm1.weight') && !source.random;
    const weights = new Weights(
      singleFile ? new BflVaeWeights(source, this.vaeConfig.block_out_channels.length) : source,
    );
    this.loadedVae = guarded(weights, () => new AutoencoderKL(weights, this.vaeConfig));
    return this.loadedVae;
  }

  /** The transformer with its LoRA, loaded at first use. @throws WeightsError, AbortError */
  async transformer(): Promise<FluxTransformer> {
    if (this.loadedTransformer) return this.loadedTransformer.model;
    const weights = new Weights(
      this.transformerSource.random ? this.transformerSource : openFluxCheckpoint(this.transformerSource),
    );
    const rounding = { timestepRounding: this.settings.timestep_rounding };
    const model = guarded(weights, () => new FluxTransformer(weights, this.config, rounding));
    let freeLora = (): void => undefined;
    try {
      const { lora: file, loraScale = 1, signal } = this.options;
      if (file !== undefined) {
        using source = new SafetensorsWeights(this.device, file, { dtype: 'f32' });
        const { lora } = await loadLora(source, weights.registered());
        freeLora = () => lora.dispose();
        for (const { lowRank } of linears(weights.registered()).values()) {
          for (const update of lowRank) update.scale *= loraScale;
        }
      }
      if (signal?.aborted) throw new AbortError();
    } catch (error) {
      freeLora();
      model.dispose();
      throw error;
    }
    this.loadedTransformer = { model, free: freeLora };
    return model;
  }

  /**
   * The verifier, loaded at first use; undefined when the model has none. @throws WeightsError, ConfigError,
   * AbortError
   */
  async verifier(): Promise<Verifier | undefined> {
    const { verifier } = this.files;
    if (!verifier) return undefined;
    this.loadedVerifier ??= await openVerifier(this.device, verifier, {
      dtype: this.dtype,
      signal: this.options.signal,
    });
    return this.loadedVerifier;
  }

  /** Frees a network that is not needed any more; it is loaded again when asked for. */
  release(network: 'autoencoder' | 'transformer' | 'verifier'): void {
    if (network === 'autoencoder') {
      freeAll(this.loadedVae?.weights);
      this.loadedVae = undefined;
    } else if (network === 'transformer') {
      this.loadedTransformer?.free();
      this.loadedTransformer?.model.dispose();
      this.loadedTransformer = undefined;
    } else {
      this.loadedVerifier?.dispose();
      this.loadedVerifier = undefined;
    }
  }

  dispose(): void {
    this.release('autoencoder');
    this.release('transformer');
    this.release('verifier');
    this.text.dispose();
    this.transformerSource.dispose();
    this.vaeSource.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** The networks must fit together. */
  private check(): void {
    const { config, vaeConfig, text, files } = this;
    const mismatch = (what: string, one: number, other: number): void => {
      if (one !== other)
        throw new ConfigError(`model ${files.name}: ${what}: the transformer expects ${one}, got ${other}`);
    };
    mismatch(
      'channels of a token (4 · latent_channels of the autoencoder)',
      config.in_channels,
      4 * vaeConfig.latent_channels,
    );
    mismatch('width of the text encoder (d_model)', config.joint_attention_dim, text.t5.d_model);
    mismatch('width of the pooled text (hidden_size)', config.pooled_projection_dim, text.clip.hidden_size);
  }
}

/**
 * Opens an editor: `tiny`, a folder in the Hugging Face layout of FLUX.1-Kontext-dev, a single-file transformer (with
 * `vae` and `text` beside it or given), `random:flux-kontext-dev` or `random:tiny`. Headers and settings of all
 * networks are checked here; weights are loaded at first use.
 * @throws WeightsError naming what is missing or broken, ConfigError, AbortError
 */
export async function loadEditor(model: string, device: Device, options: EditorOptions = {}): Promise<Editor> {
  const { signal, seed = 0 } = options;
  const dtype = options.dtype ?? (device.defaultDtype as 'f32' | 'bf16');
  const random = /^random:(.*)$/.exec(model);
  const drawn = random ? parseRandomPreset(random[1]) : undefined;
  if (random && !drawn) {
    throw new ConfigError(`model ${model}: expected random:${randomPresets.join(' or random:')}, or random:flux-kontext-dev:N with N blocks of each kind`);
  }
  const files = drawn ? randomModel(drawn.preset, drawn.blocks) : await findModel(model, options);
  if (signal?.aborted) throw new AbortError();
  const text = await TextEncoders.open(device, files, { dtype, seed });
  try {
    if (signal?.aborted) throw new AbortError();
    if (options.lora !== undefined) new SafetensorsWeights(device, options.lora, { dtype: 'f32' }).dispose();
    return new Editor(device, dtype, files, text, options);
  } catch (error) {
    text.dispose();
    throw error;
  }
}

function readVaeConfig({ vae }: ModelFiles, source: NetworkSource): VaeConfig {
  if (vae.config !== undefined) return parseVaeConfig(vae.config, vae.where);
  const singleFile = source.has('decoder.mid.block_1.norm1.weight');
  const { scaling_factor, shift_factor, norm_num_groups } = fluxVae;
  const named = singleFile ? new BflVaeWeights(source, fluxVae.block_out_channels.length) : source;
  return inferVaeConfig(named, { scaling_factor, shift_factor, norm_num_groups });
}

/** Builds a network; what it had loaded before a failure is freed. */
export function guarded<T>(weights: Weights, build: () => T): T {
  try {
    return build();
  } catch (error) {
    freeAll(weights);
    throw error;
  }
}

function freeAll(weights: Weights | undefined): void {
  for (const parameter of weights?.parameters.values() ?? []) parameter.dispose();
}
