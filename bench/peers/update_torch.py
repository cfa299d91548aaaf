"""The transformer's share of one GRPO update in plain PyTorch: what the trainer's throughput is compared with."""
import math
import time

import torch
import torch.nn.functional as F

from flux_torch import Flux


class LoraFlux(Flux):
    """The network with low-rank updates beside the frozen Linears; switched off it is its base."""

    def __init__(self, weights, config, adapters):
        super().__init__(weights, config)
        self.adapters = {}
        for name in adapters:
            if name.endswith('.lora_A.weight'):
                path = name.removesuffix('.lora_A.weight')
                self.adapters[path] = (adapters[name], adapters[path + '.lora_B.weight'])
        self.enabled = True

    def linear(self, x, name):
        y = super().linear(x, name)
        if self.enabled and name in self.adapters:
            down, up = self.adapters[name]
            y = y + F.linear(F.linear(x, down), up)
        return y


class TrainUpdate:
    """G rollouts of every group with a shared prefix and CPS steps in the window, then one step of the optimiser."""

    def __init__(self, weights, adapters, inputs, config):
        self.c = config
        self.model = LoraFlux(weights, config, adapters)
        self.adapters = {name: value.requires_grad_() for name, value in adapters.items()}
        rates = config['optimizer']
        # The rate is 0, as on our side: every update starts from the same networks.
        self.optimizer = torch.optim.AdamW(self.adapters.values(), lr=0.0, betas=(rates['beta1'], rates['beta2']),
                                           weight_decay=rates['weightDecay'], fused=True)
        self.groups = []
        while f'{len(self.groups)}.text' in inputs:
            prefix = f'{len(self.groups)}.'
            self.groups.append({name[len(prefix):]: value for name, value in inputs.items() if name.startswith(prefix)})
        self.advantages = torch.tensor(config['advantages'])
        self.autocast = False
        self.calls = []

    def velocity(self, x, sigma, group):
        batch = x.shape[0]
        self.calls.append(batch)
        inputs = {name: group[name] for name in ('text', 'pooled', 'ids')}
        inputs |= {'image': torch.cat([x, group['reference']], 1), 'timestep': torch.full((batch,), sigma),
                   'guidance': torch.full((batch,), self.c['guidance'])}
        with torch.autocast('cpu', torch.bfloat16, enabled=self.autocast):
            velocity = self.model.forward(inputs, self.c['targetTokens'])
        return velocity.float()

    def coefficients(self, step):
        """Weights of sample and velocity in the mean of a CPS step, and its standard deviation."""
        t, s = self.c['sigmas'][step:step + 2]
        std = s * math.sin(self.c['noiseLevel'] * math.pi / 2)
        kept = math.sqrt(s * s - std * std)
        return 1 - s + kept, kept * (1 - t) - (1 - s) * t, std

    def roll_out(self, group, given):
        sigmas, window = self.c['sigmas'], self.c['window']
        first, last = window['first'], window['first'] + window['size']
        x = group['start'] if given else torch.randn_like(group['start'])
        for step in range(first):
            x = x + (sigmas[step + 1] - sigmas[step]) * self.velocity(x, sigmas[step], group)
        size = self.c['size']
        many = {name: group[name].repeat(size, 1, 1) for name in ('reference', 'text')}
        many |= {'pooled': group['pooled'].repeat(size, 1), 'ids': group['ids']}
        x, stored = x.repeat(size, 1, 1), []
        for step in range(first, len(sigmas) - 1):
            velocity = self.velocity(x, sigmas[step], many)
            if step >= last:
                x = x + (sigmas[step + 1] - sigmas[step]) * velocity
                continue
            of_x, of_velocity, std = self.coefficients(step)
            mean = of_x * x + of_velocity * velocity
            noise = group[f'noise.{step - first}'] if given else torch.randn_like(x)
            stored.append((step, x, mean + std * noise, mean))
            x = stored[-1][2]
        return {'latents': x, 'condition': many, 'steps': stored}

    def roll_outs(self, given=False):
        with torch.no_grad():
            return [self.roll_out(group, given) for group in self.groups]

    def score(self, rollout, step, x, following, mean_old):
        sigma, condition, clip = self.c['sigmas'][step], rollout['condition'], self.c['clip']
        self.model.enabled = False
        with torch.no_grad():
            reference = self.velocity(x, sigma, condition)
        self.model.enabled = True
        velocity = self.velocity(x, sigma, condition)
        of_x, of_velocity, _ = self.coefficients(step)
        shift = of_x * x + of_velocity * velocity - mean_old
        # CPS scores -mean((x' - mean)²); the difference of two scores without cancellation.
        log_ratio = (shift * (2 * (following - mean_old) - shift)).mean((1, 2))
        ratio = log_ratio.clamp(-20, 20).exp()
        surrogate = torch.maximum(-self.advantages * ratio, -self.advantages * ratio.clamp(1 - clip, 1 + clip))
        kl = (velocity - reference).square().mean((1, 2))
        ((surrogate + self.c['kl'] * kl).mean() * self.c['share'] * self.c['size']).backward()
        return ratio.tolist(), kl.tolist()

    def accumulate(self, rollouts):
        """Gradients of all stored steps into the adapters; ratios and distances by group."""
        figures = []
        for rollout in rollouts:
            scored = [self.score(rollout, *step) for step in rollout['steps']]
            figures.append(tuple(sum(values, []) for values in zip(*scored)))
        return figures

    def run(self):
        begun = time.perf_counter()
        rollouts = self.roll_outs()
        rolled = time.perf_counter()
        self.optimizer.zero_grad()
        self.accumulate(rollouts)
        torch.nn.utils.clip_grad_norm_(self.adapters.values(), self.c['optimizer']['gradientNorm'])
        self.optimizer.step()
        return {'rollouts': 1e3 * (rolled - begun), 'update': 1e3 * (time.perf_counter() - rolled)}

    def repeat(self):
        """Our side's update over again, from its noise: outputs by name, and the batch of every forward."""
        self.calls = []
        rollouts = self.roll_outs(given=True)
        forwards = [len(self.calls)]
        self.optimizer.zero_grad()
        outputs = {}
        for g, (ratio, kl) in enumerate(self.accumulate(rollouts)):
            outputs[f'{g}.latents'] = rollouts[g]['latents']
            outputs |= {f'{g}.ratio': torch.tensor(ratio), f'{g}.kl': torch.tensor(kl)}
        return outputs | {'forwards': torch.tensor(forwards + self.calls, dtype=torch.float32)}
