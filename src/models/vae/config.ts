/** Settings of the FLUX autoencoder, with diffusers' field names (`AutoencoderKL` config.json). */
export interface VaeConfig {
  in_channels: number;
  out_channels: number;
  /** Channels per level, from full resolution down; each level but the last halves the size. */
  block_out_channels: number[];
  layers_per_block: number;
  latent_channels: number;
  norm_num_groups: number;
  /** Latents for the transformer are (mean − shift) · scaling. */
  scaling_factor: number;
  shift_factor: number;
}

/** FLUX.1: 84 M parameters, 8× smaller latents with 16 channels. */
export const fluxVae: VaeConfig = {
  in_channels: 3,
  out_channels: 3,
  block_out_channels: [128, 256, 512, 512],
  layers_per_block: 2,
  latent_channels: 16,
  norm_num_groups: 32,
  scaling_factor: 0.3611,
  shift_factor: 0.1159,
};

/** Pixels per latent along one side. */
export function downscale(config: VaeConfig): number {
  return 2 ** (config.block_out_channels.length - 1);
}
