"""A trained LoRA in diffusers: loads our file with peft and compares with the weights merged by hand.

python bench/peers/lora_peft.py MODEL_FOLDER lora.safetensors      (needs torch, diffusers, peft, safetensors)
"""
import json
import struct
import sys

import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import load_file

CONFIG = ["patch_size", "in_channels", "out_channels", "num_layers", "num_single_layers", "attention_head_dim", "num_attention_heads",
          "joint_attention_dim", "pooled_projection_dim", "guidance_embeds", "axes_dims_rope"]
# In f64, so that the size of the adapter does not matter; 2.7e-13 seen: sums in another order.
TOLERANCE = 1e-12


def metadata(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length)).get("__metadata__", {})


def main(folder, lora):
    config = json.load(open(f"{folder}/transformer/config.json"))
    config = {key: config[key] for key in CONFIG}
    weights = {k: v.double() for k, v in load_file(f"{folder}/transformer/diffusion_pytorch_model.safetensors").items()}
    update = {k: v.double() for k, v in load_file(lora).items()}
    adapter = json.loads(metadata(lora)["lora_adapter_metadata"])
    scale = adapter["transformer.lora_alpha"] / adapter["transformer.r"]

    torch.manual_seed(0)
    tokens, text = 72, 24
    rows = torch.stack([torch.zeros(tokens), torch.arange(tokens) // 6, torch.arange(tokens) % 6], 1).float()
    inputs = dict(
        hidden_states=torch.randn(1, tokens, config["in_channels"]), encoder_hidden_states=torch.randn(1, text, config["joint_attention_dim"]),
        pooled_projections=torch.randn(1, config["pooled_projection_dim"]), timestep=torch.tensor([0.6]), guidance=torch.tensor([2.5]),
        img_ids=rows, txt_ids=torch.zeros(text, 3), return_dict=False)

    def run(state, with_lora):
        model = FluxTransformer2DModel(**config).double().eval()
        model.load_state_dict(state)
        if with_lora:
            model.load_lora_adapter(dict(update), prefix="transformer")
            model.double()
        with torch.no_grad():
            return model(**{k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in inputs.items()})[0]

    merged = dict(weights)
    for name in update:
        if name.endswith(".lora_A.weight"):
            path = name[len("transformer."):-len(".lora_A.weight")]
            merged[f"{path}.weight"] = merged[f"{path}.weight"] + scale * update[name.replace("lora_A", "lora_B")] @ update[name]
    base, with_peft, by_hand = run(weights, False), run(weights, True), run(merged, False)
    change = (with_peft - base).abs().mean().item()
    difference = (with_peft - by_hand).abs().max().item()
    print(f"{len(update) // 2} modules; the adapter changes velocities by {change:.3g} on average; peft against merged weights: {difference:.2g} at most")
    return 0 if change > 0 and difference <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
