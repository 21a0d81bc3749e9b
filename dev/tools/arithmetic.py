"""Does this machine compute the same bits as the one that stored the notebooks' outputs?"""

import hashlib


def fingerprint():
    """A digest of the bits of storybook's outputs on one sentence, on one thread.

    Processors with other vector units, and other versions of torch, differ in the last bits. Where the digest is
    the stored one, printed numbers must be equal; elsewhere they may differ by one in the last place.
    """
    import torch  # here, because the process that only hands out tests does not need it

    from interp_helpers import encode, load_model

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model, tokenizer = load_model("storybook", device="cpu")
        with torch.no_grad():
            out = model(encode(tokenizer, "The quick brown fox jumps over the lazy dog."), output_attentions=True)
    finally:
        torch.set_num_threads(threads)
    digest = hashlib.sha256(out.logits.numpy().tobytes())
    for pattern in out.attentions:
        digest.update(pattern.numpy().tobytes())
    return digest.hexdigest()[:12]
