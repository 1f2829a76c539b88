# JSON, read and written: Julia has none in its standard library. Objects are Dict{String,Any}, arrays Vector{Any}.

struct BadJson <: Exception
    text::String
end
Base.showerror(io::IO, error::BadJson) = print(io, error.text)

mutable struct Reader
    bytes::Vector{UInt8}
    at::Int
end

"The value that a text holds, and nothing behind it."
function parse_json(text::AbstractString)
    reader = Reader(Vector{UInt8}(codeunits(String(text))), 1)
    value = read_value(reader)
    skip_blanks(reader)
    reader.at > length(reader.bytes) || refuse(reader, "the end")
    return value
end

refuse(reader, wanted) = throw(BadJson("not JSON: $wanted expected at byte $(reader.at)"))

peek_byte(reader) = reader.at <= length(reader.bytes) ? reader.bytes[reader.at] : 0x00

function skip_blanks(reader)
    while peek_byte(reader) in (UInt8(' '), UInt8('\t'), UInt8('\n'), UInt8('\r'))
        reader.at += 1
    end
end

"Step over this character; anything else there is an error."
function take(reader, character::Char)
    peek_byte(reader) == UInt8(character) || refuse(reader, repr(character))
    reader.at += 1
end

function read_value(reader)
    skip_blanks(reader)
    first = Char(peek_byte(reader))
    first == '{' && return read_object(reader)
    first == '[' && return read_array(reader)
    first == '"' && return read_string(reader)
    (first == '-' || isdigit(first)) && return read_number(reader)
    for (word, value) in (("true", true), ("false", false), ("null", nothing))
        stop = reader.at + ncodeunits(word) - 1
        if stop <= length(reader.bytes) && view(reader.bytes, reader.at:stop) == codeunits(word)
            reader.at = stop + 1
            return value
        end
    end
    refuse(reader, "a value")
end

"What stands between two brackets, each read by `read_one`, with commas between."
function read_list(read_one, reader, opening, closing)
    take(reader, opening)
    skip_blanks(reader)
    if peek_byte(reader) == UInt8(closing)
        reader.at += 1
        return
    end
    while true
        read_one()
        skip_blanks(reader)
        peek_byte(reader) == UInt8(',') || break
        reader.at += 1
    end
    take(reader, closing)
end

function read_object(reader)
    found = Dict{String,Any}()
    read_list(reader, '{', '}') do
        skip_blanks(reader)
        name = read_string(reader)
        skip_blanks(reader)
        take(reader, ':')
        found[name] = read_value(reader)
    end
    return found
end

function read_array(reader)
    found = Any[]
    read_list(() -> push!(found, read_value(reader)), reader, '[', ']')
    return found
end

const ESCAPES = Dict('"' => '"', '\\' => '\\', '/' => '/', 'b' => '\b', 'f' => '\f', 'n' => '\n', 'r' => '\r', 't' => '\t')

function read_string(reader)
    take(reader, '"')
    text = IOBuffer()
    while true
        byte = peek_byte(reader)
        byte >= 0x20 || refuse(reader, "a string's end")
        reader.at += 1
        byte == UInt8('"') && return String(take!(text))
        if byte != UInt8('\\')
            write(text, byte)  # UTF-8 as it is
            continue
        end
        mark = Char(peek_byte(reader))
        mark == 'u' || haskey(ESCAPES, mark) || refuse(reader, "an escape")
        reader.at += 1
        print(text, mark == 'u' ? read_codepoint(reader) : ESCAPES[mark])
    end
end

"The character of \\uXXXX, or of a pair of surrogates."
function read_codepoint(reader)
    code = read_hex(reader)
    if 0xd800 <= code < 0xdc00 && peek_byte(reader) == UInt8('\\')
        reader.at += 1
        take(reader, 'u')
        code = 0x10000 + ((code - 0xd800) << 10) + (read_hex(reader) - 0xdc00)
    end
    return Char(code)
end

function read_hex(reader)
    stop = reader.at + 3
    stop <= length(reader.bytes) || refuse(reader, "four hex digits")
    code = tryparse(UInt32, String(reader.bytes[reader.at:stop]); base=16)
    code === nothing && refuse(reader, "four hex digits")
    reader.at = stop + 1
    return code
end

"An Int where it is written as one, else the nearest Float64."
function read_number(reader)
    start = reader.at
    while Char(peek_byte(reader)) in "+-.eE0123456789"
        reader.at += 1
    end
    text = String(reader.bytes[start:reader.at-1])
    value = any(in(text), ".eE") ? tryparse(Float64, text) : tryparse(Int, text)
    value === nothing ? refuse(reader, "a number") : value
end

"The value as one line of JSON, the names of every object in order."
json(value) = sprint(write_json, value)

write_json(io::IO, ::Nothing) = print(io, "null")
write_json(io::IO, value::Union{Bool,Integer}) = print(io, value)
# Julia prints the shortest text that reads back as the same number. JSON has no NaN and no infinity: as in Python's guest,
# their names are written.
function write_json(io::IO, value::AbstractFloat)
    number = Float64(value)
    isfinite(number) ? print(io, number) : write_json(io, isnan(number) ? "nan" : number > 0 ? "inf" : "-inf")
end
write_json(io::IO, value::Symbol) = write_json(io, String(value))

function write_json(io::IO, text::AbstractString)
    print(io, '"')
    for character in text
        if character in ('"', '\\')
            print(io, '\\', character)
        elseif character < ' ' || !isvalid(character)
            print(io, "\\u", string(isvalid(character) ? UInt32(character) : 0xfffd; base=16, pad=4))
        else
            print(io, character)
        end
    end
    print(io, '"')
end

function write_json(io::IO, values::Union{AbstractVector,Tuple})
    print(io, '[')
    for (i, value) in enumerate(values)
        i > 1 && print(io, ", ")
        write_json(io, value)
    end
    print(io, ']')
end

function write_json(io::IO, object::AbstractDict)
    print(io, '{')
    for (i, name) in enumerate(sort!(collect(keys(object))))
        i > 1 && print(io, ", ")
        write_json(io, String(name))
        print(io, ": ")
        write_json(io, object[name])
    end
    print(io, '}')
end
