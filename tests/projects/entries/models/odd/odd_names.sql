select 1 + 1 as "no", 2 + 1 as "1e3", 3 + 1 as "on"
