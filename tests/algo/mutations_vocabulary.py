"""Mistakes in the divergences, their objectives, k1 and what a batch holds."""

from __future__ import annotations

from .rewrite import Mutation

MUTATIONS = [
    Mutation("entropy per word", "batch.normalised_entropy", "math.log(X)", "X"),
    Mutation("entropy not normalised", "batch.normalised_entropy", "X / math.log(Y)", "X"),
    Mutation("entropy of one word", "batch.normalised_entropy", "X < 2", "X < 1"),
    Mutation("turns of the first row", "batch.TokenBatch.turns", "X[:, None]", "X[:1, None]"),
    Mutation(
        "turns along tokens", "batch.TokenBatch.turns", "Y if X else Z", "Y[:, :1].expand(self.mask.shape) if X else Z"
    ),
    Mutation("trajectories per token", "batch.TokenBatch.__post_init__", 'X == "turn_ids" and Y', "Y"),
    Mutation(
        "turns per row only",
        "batch.TokenBatch.__post_init__",
        '(Z, U) if X == "turn_ids" and Y.dim() == 2 else (Z,)',
        "(Z,)",
    ),
    Mutation(
        "views of any shape",
        "batch.TokenBatch.__post_init__",
        'check_shape("views", self.views, (len(self.views), X, Y))',
        "None",
    ),
    Mutation(
        "success of any shape", "batch.TokenBatch.__post_init__", 'check_shape("success", self.success, (X,))', "None"
    ),
    Mutation(
        "heads of any shape",
        "batch.TokenBatch.__post_init__",
        'check_shape(f"{X}.hidden", Y.hidden, (Z, U, Y.weight.shape[-1]))',
        "None",
    ),
    Mutation("k1 reversed", "objectives.k1", "X - Y", "Y - X"),
    Mutation("k1 teacher live", "objectives.k1", "X.detach()", "X"),
    Mutation("k1 student detached", "objectives.k1", 'X.visible("student")', 'X.visible("student").detach()'),
    Mutation("k1 weight not masked", "objectives.k1", "hide(X, Y.mask)", "X"),
    Mutation(
        "reverse-kl is forward-kl", "objectives.reverse_kl", '_full(X, Y, "reverse-kl")', '_full(X, Y, "forward-kl")'
    ),
    Mutation("forward-kl is jsd", "objectives.forward_kl", '_full(X, Y, "forward-kl")', '_full(X, Y, "jsd")'),
    Mutation("jsd is reverse-kl", "objectives.jsd", '_full(X, Y, "jsd")', '_full(X, Y, "reverse-kl")'),
    Mutation("divergence not weighted", "objectives._full", "hide(X, Y) * Z", "Z"),
    Mutation("divergence weight not masked", "objectives._full", "hide(X, Y.mask)", "X"),
    Mutation("divergence of swapped heads", "objectives._full", "divergence(X, Y, Z, U)", "divergence(Y, X, Z, U)"),
    Mutation("one head is enough", "objectives._full", "X or Y", "X and Y"),
    Mutation("jsd needs no heads", "objectives", "(reverse_kl, forward_kl, jsd)", "(reverse_kl, forward_kl)"),
    Mutation(
        "outsiders need no heads", "objectives.needs_heads", 'X or bool(getattr(Y, "full_vocabulary", False))', "X"
    ),
    Mutation(
        "reverse value is forward",
        "divergence._value",
        'if X == "reverse-kl":\n    return _kl(Y, Z)',
        'if X == "reverse-kl":\n    return _kl(Z, Y)',
    ),
    Mutation(
        "forward value is reverse",
        "divergence._value",
        'if X == "forward-kl":\n    return _kl(Y, Z)',
        'if X == "forward-kl":\n    return _kl(Z, Y)',
    ),
    Mutation("kl reversed per word", "divergence._kl", "_gap(X, Y)", "_gap(Y, X)"),
    Mutation("kl over log-probs", "divergence._kl", "X.exp()", "X"),
    Mutation("banned words are NaN", "divergence._gap", "torch.where(X == -math.inf, 0.0, Y)", "Y"),
    Mutation("kl averaged", "divergence._kl", "X.sum(Y)", "X.mean(Y)"),
    Mutation("jsd value not halved", "divergence._value", "X / 2", "X"),
    Mutation("jsd value one-sided", "divergence._value", "(X + _kl(Y, Z)) / 2", "X"),
    Mutation("mixture is a sum", "divergence._mixture", "X - math.log(2)", "X"),
    Mutation("mixture of logs", "divergence._mixture", "torch.logaddexp(X, Y) - math.log(2)", "(X + Y) / 2"),
    Mutation(
        "mixture underflows",
        "divergence._mixture",
        "torch.logaddexp(X, Y) - math.log(2)",
        "((X.exp() + Y.exp()) / 2).log()",
    ),
    Mutation("reverse slope not centred", "divergence._slope", "return X * (Y - _kl(Z, U)[:, None])", "return X * Y"),
    Mutation("reverse slope sign", "divergence._slope", "return X * Y", "return -X * Y"),
    Mutation("reverse slope unweighted", "divergence._slope", "return X.exp() * Y", "return Y"),
    Mutation("forward slope sign", "divergence._slope", "X.exp() - Y.exp()", "Y.exp() - X.exp()"),
    Mutation("forward slope without teacher", "divergence._slope", "X - Y.exp()", "X"),
    Mutation("jsd slope not centred", "divergence._slope", "X * (Y - _kl(Z, U)[:, None]) / 2", "X * Y / 2"),
    Mutation("jsd slope not halved", "divergence._slope", "X / 2", "X"),
    Mutation("jsd slope sign", "divergence._slope", "X * Y / 2", "-X * Y / 2"),
    Mutation(
        "temperatures swapped",
        "divergence.divergence",
        "(X, Y.temperature, Z.temperature)",
        "(X, Z.temperature, Y.temperature)",
    ),
    Mutation(
        "one temperature forward", "divergence._Divergence.forward", "X, Y, Z = how", "X, Y, Z = how[0], how[1], how[1]"
    ),
    Mutation(
        "one temperature backward",
        "divergence._Divergence.backward",
        "X, Y, Z = ctx.how",
        "X, Y, Z = ctx.how[0], ctx.how[1], ctx.how[1]",
    ),
    Mutation("temperature multiplies", "divergence.log_softmax", "X / Y", "X * Y"),
    Mutation("temperature lost in the gradient", "divergence._Divergence.backward", "X / Y", "X"),
    Mutation("gradient not weighted", "divergence._Divergence.backward", "X[Y, None]", "1"),
    Mutation(
        'gradient of the first chunk"s weights',
        "divergence._Divergence.backward",
        "X * (Y[Z, None] / U)",
        "X * (Y[:len(X), None] / U)",
    ),
    Mutation(
        "hidden gradient of one chunk",
        "divergence._Divergence.backward",
        "X[Y] = (Z @ U).to(V.dtype)",
        "X[:len(Z)] = (Z @ U).to(V.dtype)",
    ),
    Mutation(
        "weight gradient of one chunk",
        "divergence._Divergence.backward",
        "X.addmm_(Y, Z.to(U.dtype))",
        "X.copy_(Y @ Z)",
    ),
    Mutation("bias gradient of one chunk", "divergence._Divergence.backward", "X += Y", "X = Y"),
    Mutation(
        "bias gradient lost",
        "divergence._Divergence.backward",
        "(X, Y, Z, None, None, None, None)",
        "(X, Y, None, None, None, None, None)",
    ),
    Mutation(
        "weight gradient lost",
        "divergence._Divergence.backward",
        "(X, Y, Z, None, None, None, None)",
        "(X, None, Z, None, None, None, None)",
    ),
    Mutation(
        "hidden gradient lost",
        "divergence._Divergence.backward",
        "(X, Y, Z, None, None, None, None)",
        "(None, Y, Z, None, None, None, None)",
    ),
    Mutation("chunks overlap", "divergence._chunks", "X + Y", "X + Y + 1"),
    Mutation("last chunk left out", "divergence._chunks", "range(0, X, Y)", "range(0, max(X - Y, 1), Y)"),
    Mutation("no token fits a chunk", "divergence._chunks", "max(1, X)", "X"),
    Mutation("half precision kept", "divergence.log_softmax", "X.float()", "X"),
    Mutation("float64 lost", "divergence.log_softmax", "X.double() if X.dtype == torch.float64 else Y", "Y"),
    Mutation("bias lost", "divergence.log_softmax", "X.linear(Y, Z, U)", "X.linear(Y, Z)"),
    Mutation("mixed precision refused", "divergence.log_softmax", "X.to(Y.dtype)", "X"),
    Mutation("any kind", "divergence.divergence", 'X not in ("reverse-kl", "forward-kl", "jsd")', "False"),
]
