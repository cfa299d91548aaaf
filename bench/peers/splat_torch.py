"""Gaussian splatting in plain PyTorch, dense and by autograd: what fits of the project are compared with.

Every Gaussian is weighed at every pixel without gradients; of what reaches a pixel the weights are computed again with
them. Formulas: Kerbl et al. 2023 (3DGS), Kheradmand et al. 2024 (MCMC), each step as its authors describe it.
"""
import math
import time

import torch
import torch.nn.functional as F

NAMES = ('means', 'quats', 'logScales', 'opacityLogits', 'sh0', 'shRest')
NEAR, DILATION, MIN_ALPHA, MAX_ALPHA, MIN_LIGHT = 0.01, 0.3, 1 / 255, 0.99, 1e-4
MOST_COPIES = 51


def harmonics(d, degree):
    """Basis [N, (degree + 1)^2] of unit directions [N, 3]."""
    x, y, z = d.unbind(1)
    xx, yy, zz = x * x, y * y, z * z
    basis = [torch.full_like(x, 0.28209479177387814)]
    if degree >= 1:
        basis += [0.4886025119029199 * a for a in (-y, z, -x)]
    if degree >= 2:
        basis += [1.0925484305920792 * x * y, -1.0925484305920792 * y * z, 0.31539156525252005 * (2 * zz - xx - yy),
                  -1.0925484305920792 * x * z, 0.5462742152960396 * (xx - yy)]
    if degree >= 3:
        basis += [-0.5900435899266435 * y * (3 * xx - yy), 2.890611442640554 * x * y * z,
                  -0.4570457994644658 * y * (4 * zz - xx - yy), 0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
                  -0.4570457994644658 * x * (4 * zz - xx - yy), 1.445305721320277 * z * (xx - yy),
                  -0.5900435899266435 * x * (xx - 3 * yy)]
    return torch.stack(basis, 1)


def rotation(quats):
    w, x, y, z = F.normalize(quats, dim=1).unbind(1)
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]
    return torch.stack(rows, 1).reshape(-1, 3, 3)


def project(p, camera, width, height, degree):
    """Rows (u, v, conic A, B, C, opacity, RGB) of the Gaussians before the camera, nearest first."""
    fx, fy, cx, cy = camera[:4].tolist()
    world = camera[4:].reshape(3, 4)
    turn, shift = world[:, :3], world[:, 3]
    seen = p['means'] @ turn.T + shift
    with torch.no_grad():
        front = torch.nonzero(seen[:, 2] > NEAR).squeeze(1)
        front = front[torch.argsort(seen[front, 2], stable=True)]
    p = {name: value[front] for name, value in p.items()}
    x, y, z = seen[front].unbind(1)
    # Beyond 15 % of the picture's size outside it the linearisation is held.
    rx = (x / z).clamp(-(cx + 0.15 * width) / fx, (width - cx + 0.15 * width) / fx)
    ry = (y / z).clamp(-(cy + 0.15 * height) / fy, (height - cy + 0.15 * height) / fy)
    nought = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, nought, -fx * rx / z, nought, fy / z, -fy * ry / z], 1).reshape(-1, 2, 3)
    root = jacobian @ turn @ rotation(p['quats']) * p['logScales'].exp()[:, None, :]
    a, b, c = ((root[:, i] * root[:, j]).sum(1) for i, j in ((0, 0), (0, 1), (1, 1)))
    a, c = a + DILATION, c + DILATION
    det = a * c - b * b
    direction = F.normalize(p['means'] + turn.T @ shift, dim=1)
    used = (degree + 1) ** 2
    weights = torch.cat([p['sh0'][:, None], p['shRest'][:, :used - 1]], 1)
    colour = (0.5 + (harmonics(direction, degree)[:, :, None] * weights).sum(1)).clamp_min(0)
    columns = [fx * x / z + cx, fy * y / z + cy, c / det, -b / det, a / det, p['opacityLogits'].sigmoid()]
    return torch.cat([torch.stack(columns, 1), colour], 1)


def power_of(columns, x, y):
    """Half the squared distance to pixel centres in standard deviations."""
    u, v, a, b, c = columns[:5]
    dx, dy = u - x, v - y
    return (0.5 * a * dx + b * dy) * dx + 0.5 * c * dy * dy


def render(p, camera, width, height, degree, background, chunk=64):
    """Picture [3, H, W]."""
    rows = project(p, camera, width, height, degree)
    across, down = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    x, y = (t.reshape(-1, 1).to(rows.dtype) for t in torch.meshgrid(across, down, indexing='xy'))
    with torch.no_grad():
        columns = rows.T.contiguous()
        # Alpha is 1/255 at this power; a margin leaves the edge to the computation with gradients.
        reach = torch.log(columns[5] / MIN_ALPHA) + 1e-3
        hits = torch.cat([power_of(columns, x[i:i + chunk], y[i:i + chunk]) < reach for i in range(0, len(x), chunk)])
        counts = hits.sum(1)
        pixel, gaussian = torch.nonzero(hits, as_tuple=True)
        place = torch.arange(len(pixel)) - (counts.cumsum(0) - counts)[pixel]
        index = torch.zeros(len(x), max(1, int(counts.max())), dtype=torch.long)
        index[pixel, place] = gaussian
        valid = torch.arange(index.shape[1]) < counts[:, None]
    rows = F.embedding(index, rows)
    columns = rows[..., :6].permute(2, 0, 1).contiguous()
    alpha = columns[5] * torch.exp(-power_of(columns, x, y))
    alpha = alpha.clamp_max(MAX_ALPHA) * (valid & (alpha >= MIN_ALPHA))
    light = torch.cumprod(1 - alpha, 1)
    # What would leave less light than MIN_LIGHT is not blended, nor anything behind it.
    weights = alpha * (light >= MIN_LIGHT) * F.pad(light[:, :-1], (1, 0), value=1.0)
    left = 1 - weights.sum(1, keepdim=True)
    image = (weights[:, None] @ rows[..., 6:9])[:, 0] + left * torch.tensor(background, dtype=rows.dtype)
    return image.T.reshape(3, height, width)


def ssim(a, b):
    offsets = torch.arange(11, dtype=a.dtype) - 5
    line = torch.exp(-offsets ** 2 / (2 * 1.5 ** 2))
    line = line / line.sum()
    window = torch.outer(line, line).expand(3, 1, 11, 11)
    blur = lambda t: F.conv2d(t[None], window, padding=5, groups=3)[0]
    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    c1, c2 = 0.01 ** 2, 0.03 ** 2
    return ((2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))).mean()


def relocated(opacity, scales, copies):
    """Opacity and scales of `copies` equal Gaussians that look as one did (Kheradmand et al., equation 9)."""
    opacity, copies = opacity.double(), copies.double()
    fresh = 1 - (1 - opacity) ** (1 / copies)
    total = torch.zeros_like(fresh)
    for i in range(1, int(copies.max()) + 1):
        inner = sum(math.comb(i - 1, k) * (-1) ** k * fresh ** (k + 1) / math.sqrt(k + 1) for k in range(i))
        total += inner * (i <= copies)
    return fresh, scales.double() * (opacity / total)[:, None]


class SplatFit:
    """A fit by the settings of splat-inputs.mjs; `views` are (picture [3, H, W], camera [16])."""

    def __init__(self, start, settings, seed=0):
        self.recipe, self.extent = settings['recipe'], settings['extent']
        self.p = {name: start[name].clone().requires_grad_() for name in NAMES}
        groups = [{'params': [self.p[name]], 'name': name, 'lr': 0.0} for name in NAMES]
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.999), eps=1e-15)
        self.random = torch.Generator().manual_seed(seed)
        self.epoch = []

    def rate(self, name, t):
        last = max(1, self.recipe['iterations'] - 1)
        rate = self.recipe['rates'][name] * self.recipe.get('decay', {}).get(name, 1) ** (t / last)
        return rate * self.extent if name == 'means' else rate

    def photometric(self, view, degree):
        image, camera = view
        rendered = render(self.p, camera, image.shape[2], image.shape[1], degree, self.recipe['background'])
        weight, similar = self.recipe['ssimWeight'], ssim(rendered, image)
        l1 = (rendered - image).abs().mean()
        return rendered, l1, similar, (1 - weight) * l1 + weight * (1 - similar)

    def step(self, view, t, degree):
        loss = self.photometric(view, degree)[-1]
        weights = self.recipe['regularise']
        loss = loss + weights['opacity'] * self.p['opacityLogits'].sigmoid().mean()
        loss = loss + weights['scale'] * self.p['logScales'].exp().mean()
        self.optimizer.zero_grad()
        loss.backward()
        for group in self.optimizer.param_groups:
            group['lr'] = self.rate(group['name'], t)
        self.optimizer.step()

    def run(self, views):
        every, strategy = self.recipe['degreeEvery'], self.recipe['strategy']
        for t in range(self.recipe['iterations']):
            if not self.epoch:
                self.epoch = torch.randperm(len(views), generator=self.random).tolist()
            self.step(views[self.epoch.pop()], t, min(3, t // every) if every > 0 else 3)
            if strategy['kind'] == 'fixed':
                continue
            with torch.no_grad():
                if strategy['from'] <= t < strategy['until'] and (t + 1) % strategy['every'] == 0:
                    self.relocate(strategy['deadOpacity'])
                    self.grow(strategy['cap'], strategy['growth'])
                self.explore(strategy['noise'] * self.rate('means', t))

    def draw(self, weights, count):
        """Rows drawn by weight, having shared their opacity and scales with their copies to be."""
        chosen = torch.multinomial(weights, count, replacement=True, generator=self.random)
        rows, copies = torch.unique(chosen, return_counts=True)
        copies = (copies + 1).clamp_max(MOST_COPIES)
        opacity, scales = relocated(self.p['opacityLogits'][rows].sigmoid(), self.p['logScales'][rows].exp(), copies)
        self.p['opacityLogits'][rows] = torch.logit(opacity.clamp(0.005, 1 - 1e-6)).float()
        self.p['logScales'][rows] = scales.log().float()
        for name in NAMES:
            state = self.optimizer.state[self.p[name]]
            for moments in (state['exp_avg'], state['exp_avg_sq']):
                moments[rows] = 0
        return chosen

    def relocate(self, dead_opacity):
        opacity = self.p['opacityLogits'].sigmoid()
        dead = torch.nonzero(opacity <= dead_opacity).squeeze(1)
        if len(dead) in (0, len(opacity)):
            return
        chosen = self.draw(opacity * (opacity > dead_opacity), len(dead))
        for name in NAMES:
            self.p[name][dead] = self.p[name][chosen]
            state = self.optimizer.state[self.p[name]]
            for moments in (state['exp_avg'], state['exp_avg_sq']):
                moments[dead] = 0

    def grow(self, cap, growth):
        count = len(self.p['means'])
        added = min(cap, int(growth * count)) - count
        if added <= 0:
            return
        chosen = self.draw(self.p['opacityLogits'].sigmoid(), added)
        for group in self.optimizer.param_groups:
            old = self.p[group['name']]
            new = torch.cat([old, old[chosen]]).requires_grad_()
            state = self.optimizer.state.pop(old)
            for moment in ('exp_avg', 'exp_avg_sq'):
                state[moment] = torch.cat([state[moment], torch.zeros_like(old[chosen])])
            self.optimizer.state[new] = state
            group['params'] = [new]
            self.p[group['name']] = new

    def explore(self, rate):
        root = rotation(self.p['quats']) * self.p['logScales'].exp()[:, None, :]
        normal = torch.randn(len(root), 3, 1, generator=self.random)
        quiet = torch.sigmoid(-100 * (self.p['opacityLogits'].sigmoid() - 0.005))
        self.p['means'] += rate * quiet[:, None] * (root @ (root.transpose(1, 2) @ normal)).squeeze(2)

    def figures(self, views):
        """Means over views of PSNR and SSIM, of pictures cut to [0, 1]."""
        sums = [0.0, 0.0]
        with torch.no_grad():
            for image, camera in views:
                rendered = render(self.p, camera, image.shape[2], image.shape[1], 3, self.recipe['background']).clamp(0, 1)
                sums[0] -= 10 * math.log10((rendered - image).double().square().mean().item())
                sums[1] += ssim(rendered, image).item()
        return {'psnr': sums[0] / len(views), 'ssim': sums[1] / len(views)}


def fit(start, settings, views, seed, order=()):
    """Fits to the trained views, which come first, and measures on both kinds; `order` is that of the views, else shuffled."""
    run = SplatFit(start, settings, seed)
    run.epoch = list(reversed(order))
    begun, used = time.perf_counter(), time.process_time()
    run.run(views[:settings['trained']])
    seconds, used = time.perf_counter() - begun, time.process_time() - used
    return {'train': run.figures(views[:settings['trained']]), 'heldOut': run.figures(views[settings['trained']:]),
            'count': len(run.p['means']), 'seconds': seconds, 'cpuSeconds': used}
