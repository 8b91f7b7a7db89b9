// parse_tokenizer on any bytes: an Error, or a tokenizer that survives being written and read, whose ids are in range
// and whose decoding takes all of them.

#include "core/data/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(tokenizer) {
  using namespace tsugi;
  fuzzing::refuse_or([&] {
    const auto tokenizer = parse_tokenizer(std::string(fuzzing::as_text(input)), "input");
    const auto again = parse_tokenizer(tokenizer->to_json(), "written");
    CHECK(again->to_json() == tokenizer->to_json());
    CHECK_EQ(again->vocabulary(), tokenizer->vocabulary());
    std::vector<int32_t> ids;
    for (int32_t id = 0; id < tokenizer->vocabulary(); ++id) ids.push_back(id);
    const std::string all = tokenizer->decode(ids);
    StreamDecoder stream(*tokenizer, true);
    for (const int32_t id : ids) stream.push(id);
    stream.finish();
    for (const std::string_view text : {std::string_view(all), fuzzing::as_text(input)}) {
      for (const bool special : {false, true}) {
        ids = tokenizer->encode(text, {true, special});
        CHECK(std::ranges::all_of(ids, [&](int32_t id) { return id >= 0 && id < tokenizer->vocabulary(); }));
        CHECK(again->encode(text, {true, special}) == ids);
        tokenizer->decode(ids);
      }
    }
  });
}
