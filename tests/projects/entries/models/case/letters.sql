select 1 as "letterId", 2 as amount
