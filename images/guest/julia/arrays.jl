# Layouts, once and for all: the protocol counts axes as numpy does, row by row; Julia stores column by column.
#
# The bytes of a row-major array of shape (a, b, c) are the bytes of a column-major one of size (c, b, a). So every array
# of this guest is the canonical one with its axes reversed, and nothing is ever transposed on the way in or out:
#
#     canonical                          here
#     images (batch, channels, h, w)     (w, h, channels, batch)
#     convolution (out, in, h, w)        (w, h, in, out)
#     dense (in, out)                    (out, in)
#     table (vocabulary, dimension)      (dimension, vocabulary)
#     GRU (in, 3 units)                  (3 units, in)
#     tokens (batch, time)               (time, batch)
#     outputs (batch, classes)           (classes, batch)
#
# These are also the layouts in which Julia's own frameworks think. Counting through memory counts through the canonical
# order, so numbers are drawn in it, and a flatten that keeps memory is one in channels-first order.

"The size here of what the protocol calls `shape`."
size_here(shape) = Tuple(reverse(Int.(shape)))

"The shape by which the protocol calls an array, in numpy's words."
shape_there(array) = string(reverse(size(array)))

# Arrays of .npy and .npz files ----------------------------------------------------------------------------------

const ELEMENTS = Dict("|u1" => UInt8, "<i4" => Int32, "<i8" => Int64, "<f4" => Float32, "<f8" => Float64)

"The array of a .npy file: a header that is a Python dictionary, then the bytes (numpy's format 1.0 and 2.0)."
function parse_npy(bytes::Vector{UInt8})
    bytes[1:6] == UInt8[0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59] || error("no .npy file")
    width = bytes[7] == 1 ? 2 : 4
    length_ = Int(little(bytes, 9, width))
    header = String(bytes[9+width:8+width+length_])
    kind = match(r"'descr': *'([^']+)'", header)[1]
    haskey(ELEMENTS, kind) || error("arrays of $kind are not read here")
    occursin(r"'fortran_order': *False", header) || error("an array in column-major order")
    shape = [parse(Int, m.match) for m in eachmatch(r"\d+", match(r"'shape': *\(([^)]*)\)", header)[1])]
    array = Array{ELEMENTS[kind]}(undef, size_here(shape))
    data = bytes[9+width+length_:end]
    length(data) == sizeof(array) || error("$(length(data)) bytes for $(sizeof(array))")
    GC.@preserve array data unsafe_copyto!(Ptr{UInt8}(pointer(array)), pointer(data), length(data))
    return array
end

"The arrays of an uncompressed .npz file, a zip of .npy files, by name."
function read_npz(path)
    bytes = read(path)
    found = Dict{String,Any}()
    at, count = directory_of(bytes)
    for _ in 1:count
        entry = entry_at(bytes, at)
        entry.method == 0 || error("$(entry.name) is compressed")
        # The local header has its own name and extra field; sizes count in the directory alone.
        data = entry.start + 30 + little(bytes, entry.start + 27, 2) + little(bytes, entry.start + 29, 2)
        found[replace(entry.name, r"\.npy$" => "")] = parse_npy(bytes[data+1:data+entry.size])
        at += entry.length
    end
    return found
end

"An unsigned number of `width` bytes, the lowest first."
little(bytes, at, width) = foldr((byte, sum) -> sum << 8 | Int(byte), view(bytes, at:at+width-1); init=0)

"Where a zip's directory begins and how many entries it has, from the record at the end."
function directory_of(bytes)
    at = findlast(i -> view(bytes, i:i+3) == UInt8[0x50, 0x4b, 0x05, 0x06], 1:length(bytes)-21)
    at === nothing && error("no zip file")
    return little(bytes, at + 16, 4) + 1, little(bytes, at + 10, 2)
end

"One entry of a zip's directory; a field that is all ones stands in the extra field, in 64 bits."
function entry_at(bytes, at)
    names, extras, comments = (little(bytes, at + field, 2) for field in (28, 30, 32))
    size, start = little(bytes, at + 24, 4), little(bytes, at + 42, 4)
    wide = at + 46 + names + 4  # behind the extra field's own mark and length
    extras >= 12 && little(bytes, wide - 4, 2) == 1 || (wide = 0)
    if size == 0xffffffff && wide > 0
        size = little(bytes, wide, 8)
        wide += 16  # the compressed size follows, and is the same
    end
    start == 0xffffffff && wide > 0 && (start = little(bytes, wide, 8))
    return (name=String(bytes[at+46:at+45+names]), method=little(bytes, at + 10, 2), size=size, start=start,
        length=46 + names + extras + comments)
end
