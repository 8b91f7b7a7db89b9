// Tokens around every text: the "post_processor" of tokenizer.json.
#pragma once

#include <cstdint>
#include <vector>

#include "core/data/json.h"
#include "core/data/tokenizer/tokenizer.h"

namespace tsugi {

struct TokenTemplate {
  std::vector<int32_t> before;
  std::vector<int32_t> after;
};

/// ByteLevel (which only moves offsets), TemplateProcessing, BertProcessing, RobertaProcessing and Sequence of them;
/// null is none. Anything else is an
/// Error(kData) that names it. Templates of pairs of texts are checked but not kept.
TokenTemplate read_template(const JsonValue& post_processor, const Tokenizer& tokenizer);

}  // namespace tsugi
