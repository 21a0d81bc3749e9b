"""Muon for the matrices of the blocks, AdamW for everything else."""

import torch


def orthogonalised(matrices, steps=5):
    """The nearest semi-orthogonal matrices, roughly, by Newton-Schulz: `(n, rows, columns)` with rows <= columns.

    Coefficients and iteration: Keller Jordan, "Muon: an optimizer for hidden layers in neural networks", 2024.
    Singular values end between about 0.7 and 1.2.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


class Muon(torch.optim.Optimizer):
    """Momentum whose direction is orthogonalised, for GPT-2's `(in, out)` matrices.

    The fused query-key-value matrix is three matrices side by side, and orthogonalised as three. Unlike
    `torch.optim.Muon` it does that, batches matrices of one shape, and takes its precision from the caller:
    bfloat16 where the hardware multiplies it, float32 on processors that would emulate it.
    """

    def __init__(self, params, lr, momentum, weight_decay, dtype):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = {}
            for param in group["params"]:
                average = self.state[param].setdefault("momentum", torch.zeros_like(param))
                average.lerp_(param.grad, 1 - group["momentum"])
                direction = param.grad.lerp(average, group["momentum"])  # Nesterov
                rows, columns = param.shape
                parts = 3 if columns == 3 * rows else 1
                for target, piece in zip(param.chunk(parts, 1), direction.chunk(parts, 1)):
                    by_shape.setdefault(piece.shape, []).append((target, piece))
            for (rows, columns), pairs in by_shape.items():
                stack = torch.stack([piece for _, piece in pairs]).to(self.dtype)
                update = orthogonalised(stack) if rows <= columns else orthogonalised(stack.mT).mT
                scale = max(1, columns / rows) ** 0.5  # outputs / inputs
                for (target, _), piece in zip(pairs, update):
                    target.mul_(1 - group["lr"] * group["weight_decay"])
                    target.add_(piece, alpha=-group["lr"] * scale)


def make_optimizers(model, settings, dtype, fused):
    """[Muon, AdamW] over all parameters of a GPT2LMHeadModel."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and ".h." in name]
    taken = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in taken]
    muon = Muon(matrices, settings["muon_lr"], settings["muon_momentum"], settings["muon_weight_decay"], dtype)
    adam = torch.optim.AdamW(
        others, settings["adam_lr"], betas=tuple(settings["adam_betas"]), weight_decay=0.0, fused=fused
    )
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return [muon, adam]


def rate(step, steps, settings):
    """Share of the peak learning rate at a step: linear warm-up, constant, linear to `decay_to` at the end."""
    warm = min(1.0, (step + 1) / settings["warmup_steps"])
    done = step / steps
    start = settings["decay_from"]
    falling = 0.0 if done <= start else (done - start) / (1 - start)
    return warm * (1 - falling * (1 - settings["decay_to"]))
