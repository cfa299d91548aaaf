"""The FLUX transformer in plain PyTorch, on parameters under diffusers' names: what the tiny editor is compared with."""
import math

import torch
import torch.nn.functional as F


class Flux:
    def __init__(self, weights, config):
        self.w = weights
        self.heads = config['num_attention_heads']
        self.head_dim = config['attention_head_dim']
        self.axes = config['axes_dims_rope']
        self.double, self.single = config['num_layers'], config['num_single_layers']
        self.tables = {}

    def linear(self, x, name):
        return F.linear(x, self.w[name + '.weight'], self.w[name + '.bias'])

    def embedder(self, x, name):
        return self.linear(F.silu(self.linear(x, name + '.linear_1')), name + '.linear_2')

    def sinusoid(self, t):
        frequencies = torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float32) / 128)
        angles = (1000 * t)[:, None] * frequencies
        return torch.cat([angles.cos(), angles.sin()], -1)

    def rope(self, ids):
        """cos and sin [L, 1, head_dim], each pair's value twice; kept, since every step uses the same."""
        key = ids.data_ptr()
        if key not in self.tables:
            angles = torch.cat([ids[:, a:a + 1].double() * 10000.0 ** (-torch.arange(0, d, 2).double() / d)
                                for a, d in enumerate(self.axes)], -1).repeat_interleave(2, -1)
            self.tables[key] = (angles.cos().float()[:, None], angles.sin().float()[:, None])
        return self.tables[key]

    def rotate(self, x, table):
        real, imaginary = x.reshape(*x.shape[:-1], -1, 2).unbind(-1)
        return x * table[0] + torch.stack([-imaginary, real], -1).flatten(3) * table[1]

    def modulation(self, silu_vec, name, count):
        return self.linear(silu_vec, name + '.linear')[:, None].chunk(count, -1)

    def norm(self, x, shift, scale):
        return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift

    def qkv(self, x, names):
        heads = lambda y: y.unflatten(-1, (self.heads, self.head_dim))
        q, k, v = (heads(self.linear(x, name)) for name in names[:3])
        return (F.rms_norm(q, (self.head_dim,), self.w[names[3] + '.weight'], 1e-6),
                F.rms_norm(k, (self.head_dim,), self.w[names[4] + '.weight'], 1e-6), v)

    def attention(self, q, k, v, table):
        q, k = self.rotate(q, table), self.rotate(k, table)
        return F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2).flatten(2)

    def feed_forward(self, x, name):
        return self.linear(F.gelu(self.linear(x, name + '.net.0.proj'), approximate='tanh'), name + '.net.2')

    def double_block(self, x, c, silu_vec, table, at):
        image = self.modulation(silu_vec, at + 'norm1', 6)
        text = self.modulation(silu_vec, at + 'norm1_context', 6)
        a = at + 'attn.'
        names = [a + n for n in ('to_q', 'to_k', 'to_v', 'norm_q', 'norm_k')]
        added = [a + n for n in ('add_q_proj', 'add_k_proj', 'add_v_proj', 'norm_added_q', 'norm_added_k')]
        mine, theirs = self.qkv(self.norm(x, *image[:2]), names), self.qkv(self.norm(c, *text[:2]), added)
        attended = self.attention(*(torch.cat(pair, 1) for pair in zip(theirs, mine)), table)
        t = c.shape[1]
        x = x + image[2] * self.linear(attended[:, t:], a + 'to_out.0')
        x = x + image[5] * self.feed_forward(self.norm(x, *image[3:5]), at + 'ff')
        c = c + text[2] * self.linear(attended[:, :t], a + 'to_add_out')
        c = c + text[5] * self.feed_forward(self.norm(c, *text[3:5]), at + 'ff_context')
        return x, c

    def single_block(self, x, silu_vec, table, at):
        shift, scale, gate = self.modulation(silu_vec, at + 'norm', 3)
        normed = self.norm(x, shift, scale)
        names = [at + 'attn.' + n for n in ('to_q', 'to_k', 'to_v', 'norm_q', 'norm_k')]
        attended = self.attention(*self.qkv(normed, names), table)
        mlp = F.gelu(self.linear(normed, at + 'proj_mlp'), approximate='tanh')
        return x + gate * self.linear(torch.cat([attended, mlp], 2), at + 'proj_out')

    def forward(self, inputs, output_tokens):
        vec = self.embedder(self.sinusoid(inputs['timestep']), 'time_text_embed.timestep_embedder')
        vec = vec + self.embedder(inputs['pooled'], 'time_text_embed.text_embedder')
        vec = vec + self.embedder(self.sinusoid(inputs['guidance']), 'time_text_embed.guidance_embedder')
        silu_vec = F.silu(vec)
        table = self.rope(inputs['ids'])
        x, c = self.linear(inputs['image'], 'x_embedder'), self.linear(inputs['text'], 'context_embedder')
        for i in range(self.double):
            x, c = self.double_block(x, c, silu_vec, table, f'transformer_blocks.{i}.')
        t, joint = c.shape[1], torch.cat([c, x], 1)
        for i in range(self.single):
            joint = self.single_block(joint, silu_vec, table, f'single_transformer_blocks.{i}.')
        scale, shift = self.modulation(silu_vec, 'norm_out', 2)
        return self.linear(self.norm(joint[:, t:t + output_tokens], shift, scale), 'proj_out')
