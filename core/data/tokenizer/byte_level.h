// GPT-2's printable names of bytes, in which byte-level vocabularies are written (bytes_to_unicode() of its
// encoder.py).
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace tsugi {

/// The name of each byte, in UTF-8: a byte that Latin-1 prints stands for itself; the others, ascending, are U+0100,
/// U+0101 …
const std::array<std::string, 256>& byte_names();

/// The name of a byte sequence.
std::string to_byte_names(std::string_view bytes);

/// The bytes that a name stands for; nothing when a character of it is no byte's name or it is not UTF-8.
std::optional<std::string> from_byte_names(std::string_view name);

}  // namespace tsugi
