// How likely a model finds given continuations.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/model/transformer.h"
#include "dist/communicator.h"

namespace tsugi {

/// Tokens of which those from `begin` on are scored, given all before them; 1 <= begin < size.
struct ScoredSequence {
  std::vector<int32_t> tokens;
  int64_t begin = 1;
};

/// Σ over the scored tokens of log p(token | tokens before it), nats, for each sequence. One longer than the context
/// and one token loses tokens at its start; the scored part must not be longer than the context (Error(kData) that
/// names the sequence's index). Sequences of similar length are run together, `rows` at a time, dealt out to the ranks;
/// every rank gets all scores, the same bits whatever the number of ranks and threads. Collective.
std::vector<double> score_sequences(Communicator& communicator, const Context& context, const Transformer& model,
                                    std::span<const ScoredSequence> sequences, int64_t rows);

}  // namespace tsugi
