// Which activation; a header that kernels can include.
#pragma once

namespace tsugi {

/// kGelu is x·Φ(x) in its tanh form ("gelu_new", "gelu_pytorch_tanh" of Hugging Face), kGeluErf the exact one ("gelu"):
/// Hendrycks and Gimpel, "Gaussian error linear units" (2016). kSilu is x·sigmoid(x), kRelu max(x, 0), kReluSquared its
/// square (So et al., "Primer", 2021, section 4.1), kTanh tanh(x).
enum class Activation { kNone, kGelu, kGeluErf, kSilu, kRelu, kReluSquared, kTanh };

}  // namespace tsugi
