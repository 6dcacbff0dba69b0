select 1 + 1 as id, 'x' || 'y' as label
