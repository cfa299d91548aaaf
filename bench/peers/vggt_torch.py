"""VGGT in plain PyTorch, on parameters under the checkpoint's names: what the tiny verifier is compared with."""
import torch
import torch.nn.functional as F


class Vggt:
    def __init__(self, weights, config):
        self.w, self.c = weights, config
        self.dim = config['embed_dim']
        self.kept = {}

    def linear(self, x, name):
        return F.linear(x, self.w[name + '.weight'], self.w[name + '.bias'])

    def norm(self, x, name, eps):
        return F.layer_norm(x, x.shape[-1:], self.w[name + '.weight'], self.w[name + '.bias'], eps)

    def conv(self, x, name, **options):
        return F.conv2d(x, self.w[name + '.weight'], self.w.get(name + '.bias'), **options)

    def constant(self, key, make):
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    def rope(self, views, h, w, head_dim):
        """cos and sin [1, 1, views · T, head_dim]: the first half of a head turns by the row, the second by the column."""
        special = 1 + self.c['num_register_tokens']
        quarter = head_dim // 4
        frequencies = self.c['rope_freq'] ** (-2 * torch.arange(quarter).double() / (head_dim / 2))
        rows = torch.arange(1, h + 1).double().repeat_interleave(w)
        columns = torch.arange(1, w + 1).double().repeat(h)
        angles = [torch.cat([torch.zeros(special), axis])[:, None] * frequencies for axis in (rows, columns)]
        full = torch.cat([angles[0], angles[0], angles[1], angles[1]], -1).repeat(views, 1)
        return full.cos().float()[None, None], full.sin().float()[None, None]

    @staticmethod
    def rotate(x, table):
        def half(y, cos, sin):
            a, b = y.chunk(2, -1)
            return y * cos + torch.cat([-b, a], -1) * sin
        parts = zip(x.chunk(2, -1), table[0].chunk(2, -1), table[1].chunk(2, -1))
        return torch.cat([half(*part) for part in parts], -1)

    def block(self, x, at, heads, eps, table=None):
        b, n, c = x.shape
        y = self.linear(self.norm(x, at + 'norm1', eps), at + 'attn.qkv')
        q, k, v = y.reshape(b, n, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
        if table is not None:
            q = self.rotate(self.norm(q, at + 'attn.q_norm', eps), table)
            k = self.rotate(self.norm(k, at + 'attn.k_norm', eps), table)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)
        x = x + self.w[at + 'ls1.gamma'] * self.linear(y, at + 'attn.proj')
        y = self.linear(F.gelu(self.linear(self.norm(x, at + 'norm2', eps), at + 'mlp.fc1')), at + 'mlp.fc2')
        return x + self.w[at + 'ls2.gamma'] * y

    def encode(self, images):
        encoder, p = self.c['patch_embed'], self.c['patch_size']
        mean, std = (self.constant(key, lambda: torch.tensor(values)[:, None, None]) for key, values in
                     (('mean', [0.485, 0.456, 0.406]), ('std', [0.229, 0.224, 0.225])))
        at = 'aggregator.patch_embed.'
        x = self.conv((images - mean) / std, at + 'patch_embed.proj', stride=p).flatten(2).transpose(1, 2)
        count, position = x.shape[0], self.w[at + 'pos_embed']
        cls = (self.w[at + 'cls_token'] + position[:, :1]).expand(count, -1, -1)
        registers = self.w[at + 'register_tokens'].expand(count, -1, -1)
        x = torch.cat([cls, registers, x + position[:, 1:]], 1)
        for i in range(encoder['depth']):
            x = self.block(x, f'{at}blocks.{i}.', encoder['num_heads'], 1e-6)
        return self.norm(x[:, 1 + encoder['num_register_tokens']:], at + 'norm', 1e-6)

    def aggregate(self, images):
        views, _, height, width = images.shape
        h, w, heads = height // self.c['patch_size'], width // self.c['patch_size'], self.c['num_heads']
        special = [self.w['aggregator.' + name] for name in ('camera_token', 'register_token')]
        first = [token[:, 0] for token in special]
        others = [token[:, 1].expand(views - 1, -1, -1) for token in special]
        leading = torch.cat([torch.cat(first, 1), torch.cat(others, 1)], 0)
        x = torch.cat([leading, self.encode(images)], 1)
        tokens, head_dim = x.shape[1], self.dim // heads
        one = self.constant('one', lambda: self.rope(1, h, w, head_dim))
        every = self.constant('every', lambda: self.rope(views, h, w, head_dim))
        kept = []
        for i in range(self.c['depth']):
            frame = self.block(x, f'aggregator.frame_blocks.{i}.', heads, 1e-5, one)
            x = self.block(frame.reshape(1, views * tokens, self.dim), f'aggregator.global_blocks.{i}.', heads, 1e-5, every)
            x = x.reshape(views, tokens, self.dim)
            kept.append(torch.cat([frame, x], -1))
        return kept

    def camera(self, tokens):
        z = self.norm(tokens, 'camera_head.token_norm', 1e-5)
        pose = self.w['camera_head.empty_pose_tokens'].expand(1, tokens.shape[1], -1)
        for round_ in range(self.c['camera_head']['iterations']):
            shift, scale, gate = self.linear(F.silu(self.linear(pose, 'camera_head.embed_pose')),
                                             'camera_head.poseLN_modulation.1').chunk(3, -1)
            y = z + gate * (F.layer_norm(z, z.shape[-1:], eps=1e-6) * (1 + scale) + shift)
            for i in range(self.c['camera_head']['trunk_depth']):
                y = self.block(y, f'camera_head.trunk.{i}.', self.c['camera_head']['num_heads'], 1e-5)
            y = self.norm(y, 'camera_head.trunk_norm', 1e-5)
            change = self.linear(F.gelu(self.linear(y, 'camera_head.pose_branch.fc1')), 'camera_head.pose_branch.fc2')
            pose = change if round_ == 0 else pose + change
        return torch.cat([pose[..., :7], F.relu(pose[..., 7:])], -1)[0]

    def plane(self, channels, h, w, aspect):
        def make():
            k, diagonal = channels // 4, (aspect ** 2 + 1) ** 0.5
            omega = 100.0 ** (-torch.arange(k).double() / k)
            line = lambda n, span: torch.linspace(-span * (n - 1) / n, span * (n - 1) / n, n).double()
            x, y = (line(n, span)[:, None] * omega for n, span in ((w, aspect / diagonal), (h, 1 / diagonal)))
            x, y = (torch.cat([a.sin(), a.cos()], -1).T for a in (x, y))
            grid = torch.cat([x[:, None, :].expand(-1, h, -1), y[:, :, None].expand(-1, -1, w)], 0)
            return 0.1 * grid.float()
        return self.constant(('plane', channels, h, w), make)

    def unit(self, x, at):
        x = F.relu(x)
        return self.conv(F.relu(self.conv(x, at + '.conv1', padding=1)), at + '.conv2', padding=1) + x

    def dense(self, levels, at, height, width):
        p, aspect, maps = self.c['patch_size'], width / height, []
        special = 1 + self.c['num_register_tokens']
        for i, layer in enumerate(self.c['dpt']['intermediate_layer_idx']):
            x = self.norm(levels[layer][:, special:], at + 'norm', 1e-5)
            x = x.transpose(1, 2).unflatten(2, (height // p, width // p))
            x = self.conv(x, f'{at}projects.{i}')
            x = x + self.plane(x.shape[1], *x.shape[2:], aspect)
            if i < 2:
                name = f'{at}resize_layers.{i}'
                x = F.conv_transpose2d(x, self.w[name + '.weight'], self.w[name + '.bias'], stride=(4, 2)[i])
            elif i == 3:
                x = self.conv(x, at + 'resize_layers.3', stride=2, padding=1)
            maps.append(self.conv(x, f'{at}scratch.layer{i + 1}_rn', padding=1))
        merged = None
        for i in (3, 2, 1, 0):
            name = f'{at}scratch.refinenet{i + 1}.'
            merged = maps[i] if merged is None else merged + self.unit(maps[i], name + 'resConfUnit1')
            merged = self.unit(merged, name + 'resConfUnit2')
            size = maps[i - 1].shape[2:] if i > 0 else [2 * side for side in maps[0].shape[2:]]
            merged = self.conv(F.interpolate(merged, size=size, mode='bilinear', align_corners=True), name + 'out_conv')
        x = self.conv(merged, at + 'scratch.output_conv1', padding=1)
        x = F.interpolate(x, size=(height, width), mode='bilinear', align_corners=True)
        x = x + self.plane(x.shape[1], height, width, aspect)
        x = F.relu(self.conv(x, at + 'scratch.output_conv2.0', padding=1))
        return self.conv(x, at + 'scratch.output_conv2.2')

    def forward(self, images):
        height, width = images.shape[2:]
        tokens = self.aggregate(images)
        pose = self.camera(tokens[-1][None, :, 0])
        depth = self.dense(tokens, 'depth_head.', height, width)
        points = self.dense(tokens, 'point_head.', height, width)
        xyz = points[:, :3].permute(0, 2, 3, 1)
        return {'pose': pose, 'depth': depth[:, 0].exp(), 'depth_conf': 1 + depth[:, 1].exp(),
                'points': xyz.sign() * xyz.abs().expm1(), 'points_conf': 1 + points[:, 3].exp()}
