# Warm-up and samples: blocks of steps with the device synchronised on both sides of the clock, nowhere inside.

clock() = time_ns() / 1e9

"Step until both the least number of steps and the least time are spent, which may be none; {steps, seconds}."
function warm_up(step, synchronize, sampling)
    synchronize()
    start, steps, seconds = clock(), 0, 0.0
    while steps < sampling["warm_up_steps"] || seconds < sampling["warm_up_seconds"]
        step()
        synchronize()
        steps += 1
        seconds = clock() - start
    end
    return Dict("steps" => steps, "seconds" => seconds)
end

"How many steps make a block: the given number, or more where that would be too short to time well."
function steps_in_block(warmed_up, sampling)
    step_seconds = max(warmed_up["seconds"] / max(warmed_up["steps"], 1), 1e-9)
    return max(sampling["block_steps"], ceil(Int, sampling["block_seconds"] / step_seconds))
end

"One sample: {steps, seconds}."
function timed_block(step, synchronize, steps)
    synchronize()
    start = clock()
    for _ in 1:steps
        step()
    end
    synchronize()
    return Dict("steps" => steps, "seconds" => clock() - start)
end

"The timed blocks, all of them; fewer than asked (but never under three) once `limit_seconds` are spent."
function samples(step, synchronize, sampling, warmed_up, on_sample)
    steps = steps_in_block(warmed_up, sampling)
    taken, start = Any[], clock()
    while length(taken) < sampling["blocks"]
        push!(taken, timed_block(step, synchronize, steps))
        on_sample(taken[end])
        length(taken) >= 3 && clock() - start >= sampling["limit_seconds"] && break
    end
    return taken
end
